"""The parts of the start-up, from ktpy's own lines."""

import pytest

from ktpy.cli import render
from ktpy.observe.events import StartStep
from tests.bench.first_byte import part, parts


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  cluster   lab (https://10.99.0.1:6443), namespace shop (0.41 s)", "cluster"),
        ("  pod       ktpy-shadow-1-abc: created (0.52 s)", "pod-created"),
        ("  pod       ktpy-shadow-1-abc: scheduled on node1 (0.53 s)", "pod-scheduled"),
        ("  routes    10.96.0.0/16, fd96::/108 by ktpy0 (0.90 s)", "routes"),
        ("connected to lab (https://10.99.0.1:6443)", "ready"),
        ("  namespace shop", None),
        ("  up        0 s, process 4711", None),
        ("  note      something else", None),
        ("Disconnected; everything is undone.", None),
        ("", None),
    ],
)
def test_part(line: str, expected: str | None) -> None:
    assert part(line) == expected


def test_lines_are_read_as_ktpy_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    render.event(StartStep("ssh", "a session with ktpy-shadow-1-abc", 0.83))
    assert part(capsys.readouterr().out.rstrip("\n")) == "ssh"


def test_the_first_time_counts() -> None:
    lines = [
        (0.5, "  pod       p: started (0.30 s)"),
        (0.7, "  pod       p: started (0.50 s)"),
        (0.9, "connected to x"),
    ]
    assert parts(lines) == {"pod-started": 0.5, "ready": 0.9}
