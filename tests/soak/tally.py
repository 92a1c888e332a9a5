"""How many requests of one kind were made, how many failed, and which failures an outage explains."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.lab.sessions.request_log import Visit

TOLD = 20
"""Of the failures, so many are told in words."""

Span = tuple[float, float]
"""From when to when, of time.monotonic()."""


@dataclass
class Tally:
    """`expected` is who should answer; "" is anybody."""

    expected: str = ""
    sent: int = 0
    failed: int = 0
    excused: int = 0
    """Of the failed, those while the link was lost, where that may fail them."""
    elsewhere: int = 0
    """Answered, but not by whom it should."""
    longest_s: float = 0.0
    words: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.failed - self.excused

    def add(self, visits: Iterable[Visit], outages: Sequence[Span], began_s: float = 0.0) -> None:
        """Count these. A failure that overlaps one of `outages` is excused."""
        for visit in visits:
            self.sent += 1
            self.longest_s = max(self.longest_s, visit.took_s)
            if not visit.is_answered:
                self.failed += 1
                is_excused = any(visit.began_s <= until_s and since_s <= visit.ended_s for since_s, until_s in outages)
                self.excused += is_excused
                if not is_excused and len(self.words) < TOLD:
                    self.words.append(f"{visit.began_s - began_s:.1f} s, after {visit.took_s:.1f} s: {visit.answer}")
            elif self.expected and visit.answer != self.expected:
                self.elsewhere += 1

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"lost": self.lost}
