"""SIGKILL to a part of `ktpy run`: no process of it is left, nor anything else on the laptop. Of what it leaves in the
cluster tests/e2e/connect_undo/test_two_minutes_later.py tells."""

import pytest

from tests.e2e.kit.sleeping import Sleeping


@pytest.mark.parametrize(
    ("victims", "code"), [("program", 128 + 9), ("helper", 35), ("main", -9), ("main helper program", -9)]
)
def test_nothing_runs_on(killed_runs: dict[str, Sleeping], victims: str, code: int) -> None:
    run = killed_runs[victims]
    assert run.process.returncode == code, run.output
    assert set(run.processes) == {"main", "helper", "program"}
