"""What a figure has to reach: so much by itself, or so many times the baseline's."""

import operator
from dataclasses import dataclass
from typing import Literal

_COMPARE = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Goal:
    """`than` says what is compared with `limit`: the figure itself, or its ratio to the baseline."""

    sign: Literal["<=", ">="]
    limit: float
    than: Literal["figure", "ratio"]

    def met(self, figure: float | None, ratio: float | None) -> bool | None:
        """None when what it judges was not measured."""
        value = figure if self.than == "figure" else ratio
        return None if value is None else bool(_COMPARE[self.sign](value, self.limit))

    def text(self, unit: str) -> str:
        return f"{self.sign} {self.limit:g} {'x baseline' if self.than == 'ratio' else unit}"


def at_least(limit: float) -> Goal:
    return Goal(">=", limit, "figure")


def at_most(limit: float) -> Goal:
    return Goal("<=", limit, "figure")


def at_least_times(limit: float) -> Goal:
    return Goal(">=", limit, "ratio")


def at_most_times(limit: float) -> Goal:
    return Goal("<=", limit, "ratio")
