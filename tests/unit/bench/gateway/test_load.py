"""What is made of the lines that the programs in the pods print."""

import io

from tests.bench.gateway.load import RATE, Load
from tests.lab.sessions.request_log import Visit

FAILED = "Ended: after 0 bytes of the answer, kept connection"


def steady_load(*lines: str) -> Load:
    seen = Load()
    seen.read(io.StringIO("".join(f"{line}\n" for line in lines)))
    return seen


def test_requests_count_from_when_they_were_due() -> None:
    seen = steady_load('[10.0, 0.25, 0.5, "web", false]', '[10.5, 0.01, 0.02, "web", true]')
    assert seen.visits == [
        Visit(10.0, 0.5, "web", late_s=0.25),
        Visit(10.5, 0.02, "web", is_retried=True, late_s=0.01),
    ]
    assert seen.retried() == 1
    assert seen.late_s == 0.25
    assert seen.outage_s == 0.0


def test_an_outage_is_from_the_first_that_failed_to_the_last() -> None:
    seen = steady_load(
        f'[12.0, 0, 1, "{FAILED}", false]', '[11.0, 0, 1, "web", true]', f'[10.0, 0, 1, "{FAILED}", true]'
    )
    assert seen.outage_s == 2.0 + 1 / RATE
