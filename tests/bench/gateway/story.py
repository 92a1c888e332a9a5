"""What went wrong, and when: beside what happened to the gateway."""

from collections.abc import Iterator, Sequence

from tests.e2e.visits import Visit

MOST_LINES = 20

Note = tuple[float, str]


def tell(visits: Sequence[Visit], notes: Sequence[Note]) -> Iterator[str]:
    """Lines in order of time, which begins with the first note: the notes, each failure, who answers from then on.

    Requests count by when they were due. Nothing when nothing failed; of many failures in a row, the first few.
    """
    if not any(not visit.is_answered for visit in visits):
        return
    begin_s = notes[0][0] if notes else min(visit.began_s for visit in visits)
    told = [(moment_s, f"-- {what}") for moment_s, what in notes]
    told += _changes(sorted(visits, key=lambda visit: visit.began_s))
    for moment_s, line in sorted(told):
        yield f"{moment_s - begin_s:+8.3f} s {line}"


def _changes(visits: Sequence[Visit]) -> list[Note]:
    told: list[Note] = []
    last_answer, failures = "", 0
    for visit in visits:
        if not visit.is_answered:
            failures += 1
            if failures <= MOST_LINES:
                told.append((visit.began_s, f"failed after {visit.took_s:.3f} s: {visit.answer}"))
        elif visit.answer != last_answer:
            told.append((visit.began_s, f"answered by {visit.answer:.10}"))
            last_answer = visit.answer
    if failures > MOST_LINES:
        told.append((max(visit.began_s for visit in visits), f"{failures - MOST_LINES} more failed"))
    return told
