"""What happened to the requests of everybody else, whoever made them: who answered, what failed, how long it took."""

import time
from dataclasses import dataclass, field

from tests.lab import LabError
from tests.lab.processes import wait_until

STEADY_S = 0.3
SOON_S = 60.0
"""On a machine that is busy with other things; how fast it has to be is a test's to say."""
LINES_TOLD = 10
ASKED_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `answer` is the first word of the body, or what went wrong."""

    began_s: float
    took_s: float
    answer: str
    is_retried: bool = False
    """A kept connection was closed instead of an answer, so it was sent again on a new one (RFC 9112, 9.3.1)."""
    client: int = 0
    """Who asked."""
    late_s: float = 0.0
    """By how much it began after it was due, which is in `took_s`."""

    @property
    def ended_s(self) -> float:
        return self.began_s + self.took_s

    @property
    def is_answered(self) -> bool:
        return self.answer.isidentifier()


@dataclass
class Visits:
    """All of them so far; others may be adding to them. Moments are of time.monotonic()."""

    visits: list[Visit] = field(default_factory=list, kw_only=True)

    def answers(self, since_s: float = 0.0, until_s: float = float("inf")) -> set[str]:
        """What the requests that began and ended in a span of time were answered with."""
        return {visit.answer for visit in self.visits if since_s <= visit.began_s and visit.ended_s < until_s}

    def endings(self, since_s: float) -> set[str]:
        """What the requests that have ended since then were answered with."""
        return {visit.answer for visit in self.visits if visit.ended_s >= since_s}

    def latest(self) -> set[str]:
        """What each client was answered with last."""
        return set({visit.client: visit.answer for visit in self.visits}.values())

    def failures(self) -> list[Visit]:
        return [visit for visit in self.visits if not visit.is_answered]

    def story(self) -> str:
        """Who answered, from when to when, and how often: what an assertion should show."""
        spans: list[tuple[str, float, float, int]] = []
        begin_s = min((visit.began_s for visit in self.visits), default=0.0)
        for visit in sorted(self.visits, key=lambda visit: visit.began_s):
            at_s = visit.began_s - begin_s
            answer, since_s, _, count = spans[-1] if spans else ("", 0.0, 0.0, 0)
            if answer == visit.answer:
                spans[-1] = (answer, since_s, at_s, count + 1)
            else:
                spans.append((visit.answer, at_s, at_s, 1))
        return "\n".join(
            f"{since_s:7.3f} to {until_s:7.3f} s, {n:4}: {answer}" for answer, since_s, until_s, n in spans
        )

    def retried(self) -> int:
        return sum(visit.is_retried for visit in self.visits)

    def slowest_s(self) -> float:
        return max(visit.took_s for visit in self.visits)


def until_asked(visits: Visits, count: int, timeout_s: float = ASKED_TIMEOUT_S) -> None:
    """Wait until so many more requests have come to an end, whichever."""
    wanted = len(visits.visits) + count
    wait_until(lambda: len(visits.visits) >= wanted, timeout_s, f"{count} more requests")


def until_answered(visits: Visits, by: str, timeout_s: float = SOON_S) -> float:
    """Wait until requests are answered by `by` and nobody else; how long that took.

    A client that keeps its connection, and has not asked lately on a busy machine, may still be led elsewhere.
    """
    started_s = time.monotonic()

    def is_so() -> bool:
        now_s = time.monotonic()
        is_steady = now_s - started_s > STEADY_S and visits.endings(now_s - STEADY_S) == visits.latest() == {by}
        return is_steady and by in visits.answers(started_s)

    try:
        wait_until(is_so, timeout_s, f"{by} to answer")
    except LabError as error:
        lately = "\n".join(visits.story().splitlines()[-LINES_TOLD:])
        raise LabError(f"{error}; lately it was:\n{lately}") from None
    return time.monotonic() - started_s
