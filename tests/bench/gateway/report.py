"""What failed or waited, and when: beside what happened to the gateway."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.lab.sessions.request_log import Visit

SLOW_S = 2.0  # what even a busy machine does not do by itself
ANSWER_CHARACTERS = 10

Note = tuple[float, str]


def timeline(visits: Sequence[Visit], notes: Sequence[Note]) -> Iterator[str]:
    """Lines in order of time, which begins with the first note; nothing when all was well.

    Between two notes, requests that fared alike are one line. They count by when they were due.
    """
    if not any(_is_bad(visit) for visit in visits):
        return
    begin_s = notes[0][0] if notes else min(visit.began_s for visit in visits)
    bounds_s = [float("-inf"), *(moment_s for moment_s, _ in notes), float("inf")]
    for number, (since_s, until_s) in enumerate(pairwise(bounds_s)):
        if number > 0:
            yield f"{since_s - begin_s:+8.3f} s -- {notes[number - 1][1]}"
        alike = defaultdict(list)
        for visit in sorted(visits, key=lambda visit: visit.began_s):
            if since_s <= visit.began_s < until_s:
                alike[_how(visit)].append(visit)
        for how, those in alike.items():
            first_s, last_s = those[0].began_s - begin_s, those[-1].began_s - begin_s
            longest_s = max(visit.took_s for visit in those)
            yield f"{first_s:+8.3f} s to {last_s:+8.3f} s, {len(those):4} in {longest_s:6.3f} s or less: {how}"


def _is_bad(visit: Visit) -> bool:
    return not visit.is_answered or visit.is_retried or visit.took_s > SLOW_S


def _how(visit: Visit) -> str:
    asked = ", asked twice" if visit.is_retried else ""
    if not visit.is_answered:
        return f"FAILED: {visit.answer}{asked}"
    return f"{'late ' if visit.took_s > SLOW_S else ''}answered by {visit.answer:.{ANSWER_CHARACTERS}}{asked}"
