"""What became of a cell, as values; and the file in which runs in parts add up. Pure but for that file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.lab.sessions.request_log import Visit

ITSELF = "itself"
NOBODY = ""
"""Who undid it, where nobody did."""


@dataclass(frozen=True, slots=True)
class Requests:
    """How a steady client fared, from a second before the fault until all was over."""

    asked: int
    lost: int
    longest_s: float
    """The longest time without an answer."""

    @classmethod
    def of(cls, visits: Iterable[Visit], since_s: float, until_s: float) -> "Requests | None":
        """Count those that ended in this span of time.monotonic(); None where there was none."""
        ended = sorted(
            (visit for visit in visits if since_s <= visit.ended_s < until_s), key=lambda visit: visit.ended_s
        )
        if not ended:
            return None
        moments = [ended[0].began_s, *(visit.ended_s for visit in ended if visit.is_answered), ended[-1].ended_s]
        longest_s = max(later - earlier for earlier, later in pairwise(moments))
        return cls(len(ended), sum(not visit.is_answered for visit in ended), round(longest_s, 1))


@dataclass(frozen=True, slots=True)
class Left:
    """What was left after the fault, and who undid it: `itself`, a command, or nobody."""

    things: tuple[str, ...] = ()
    undone_by: str = ITSELF
    after_s: float = 0.0
    """From when the command had ended."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one cell."""

    cell: str
    at: str
    """At which step the fault came; empty where it came to a command that stands."""
    outcome: str
    """goes on, ends, or hangs."""
    exit_code: int | None
    """Of the command that ended by the fault; None in the background, where nobody hears it."""
    laptop: Left
    cluster: Left
    is_as_before: bool
    """Whether Service and Deployment are, in the end, what they were."""
    requests: Requests | None
    commit: str
    date: str
    note: str = ""

    @property
    def is_well(self) -> bool:
        """Whether somebody undid everything, and the command did not hang."""
        undone = NOBODY not in (self.laptop.undone_by, self.cluster.undone_by)
        return undone and self.is_as_before and self.outcome != "hangs"

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Result":
        laptop, cluster = (
            Left(**{**item[place], "things": tuple(item[place]["things"])}) for place in ("laptop", "cluster")
        )
        requests = Requests(**item["requests"]) if item["requests"] else None
        return cls(**{**item, "laptop": laptop, "cluster": cluster, "requests": requests})


def read(path: Path) -> dict[str, Result]:
    """Return the results of earlier runs by their cells; none where there is no file."""
    if not path.exists():
        return {}
    return {item["cell"]: Result.from_json(item) for item in json.loads(path.read_text())}


def add(path: Path, result: Result) -> None:
    """Put a result beside those of earlier runs, or in the place of its cell's. A killed run leaves a whole file."""
    found = read(path) | {result.cell: result}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(one) for one in found.values()], indent=1) + "\n")
    partial.rename(path)
