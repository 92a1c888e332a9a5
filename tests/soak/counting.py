"""What becomes of the requests of all loads, and which failures are those of a machine that had no time."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.lab.sessions.request_log import Visit, Visits
from tests.soak.tally import Span, Tally

BUSY_S = 3.0
"""An answer without ktpy that takes longer tells of a machine that has no time, for ktpy neither."""
LOOK_BACK_S = 20.0
"""Longer than any request takes: what is counted has the bystander's of its time beside it."""


@dataclass
class Load:
    """`may_fail` where it goes by a link of the laptop: then it fails while that is lost."""

    visits: Visits
    tally: Tally
    may_fail: bool

    def take(self, until_s: float) -> list[Visit]:
        """Those that had ended by then, each once."""
        ended = list(itertools.takewhile(lambda visit: visit.ended_s < until_s, list(self.visits.visits)))
        del self.visits.visits[: len(ended)]
        return ended


class Loads:
    """All loads by name, and when the machine was so busy that even those without ktpy waited."""

    def __init__(self, loads: Mapping[str, Load], bystander: str) -> None:
        self._loads, self._bystander = loads, loads[bystander]
        self._busy: list[Span] = []

    @property
    def tallies(self) -> dict[str, Tally]:
        return {name: load.tally for name, load in self._loads.items()}

    def count(self, outages: Sequence[Span], began_s: float, until_s: float) -> list[str]:
        """Move what had ended by `until_s` into the tallies; what of it was lost, in words."""
        words = []
        ended = self._bystander.take(until_s + LOOK_BACK_S)
        self._busy += busy(ended)
        self._bystander.tally.add(ended, self._busy, began_s)
        for name, load in self._loads.items():
            told = len(load.tally.words)
            load.tally.add(load.take(until_s), [*self._busy, *(outages if load.may_fail else ())], began_s)
            words += [f"{name}, lost: {word}" for word in load.tally.words[told:]]
        return words


def busy(visits: Iterable[Visit]) -> list[Span]:
    """When the machine had no time, as what has nothing to do with ktpy was late or got no answer."""
    return [
        (visit.began_s - LOOK_BACK_S, visit.ended_s + LOOK_BACK_S)
        for visit in visits
        if not visit.is_answered or visit.took_s > BUSY_S
    ]
