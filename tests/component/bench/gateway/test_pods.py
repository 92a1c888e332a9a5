"""Processes of a pod, as the machine sees them."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.bench.gateway.pods import Pod, Process, started_s

CLOCK_TICK_S = 0.01


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    ("words", "is_called"),
    [
        (("ktpy-agent", "route"), True),
        (("route",), True),
        (("ktpy-agent", "gateway"), False),
        (("agent",), False),
    ],
)
def test_a_process_is_known_by_the_words_of_its_command(words: tuple[str, ...], is_called: bool) -> None:
    assert Process(1, ("/usr/bin/python3", "/usr/bin/ktpy-agent", "route", "ab12")).is_called(*words) == is_called


def test_when_a_process_began() -> None:
    before_s = time.monotonic()
    with subprocess.Popen(["sleep", "60"]) as process:
        after_s = time.monotonic()
        began_s = started_s(Process(process.pid, ("sleep", "60")))
        process.kill()
    assert before_s - CLOCK_TICK_S <= began_s <= after_s + CLOCK_TICK_S


def test_a_process_that_is_killed_is_gone(sleeper: int) -> None:
    process = Process(sleeper, ("sleep", "60"))
    process.kill()
    process.kill()  # once more: nothing to do


def test_a_pod_of_another_machine_has_no_process() -> None:
    pod = Pod("away", "00000000-0000-0000-0000-000000000000", "")
    assert (pod.processes(), pod.memory_mb()) == ([], 0)
