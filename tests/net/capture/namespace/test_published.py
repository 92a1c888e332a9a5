"""Ports of a program on the laptop's loopback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.capture.namespace.conftest import Box

PROBE = str(Path(__file__).with_name("probe.py"))
ASKED, FOUND, FOUND6, PRIVILEGED = 8080, 3000, 3001, 80


@pytest.fixture(scope="module")
def told(box: Box) -> Iterator[str]:
    """A program that listens on all of them; what ktpy has told of it."""
    holder = subprocess.Popen([*box.prefix, sys.executable, PROBE, "hold", str(FOUND6)], stdout=subprocess.PIPE)
    command = box.command(sys.executable, PROBE, "listen", str(ASKED), str(FOUND), f"[::1]:{FOUND6}", str(PRIVILEGED))
    ktpy = subprocess.Popen(
        ["env", f"KTPY_TEST_PUBLISH={ASKED + 1}:{ASKED}", *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert ktpy.stderr is not None
        lines = [ktpy.stderr.readline() for _ in (FOUND, FOUND6, PRIVILEGED)]
        yield "".join(lines)
    finally:
        for process in (ktpy, holder):
            process.kill()
            process.communicate()


def local_port(told: str, port: int) -> int:
    """The laptop's port that was told for one of the program."""
    [line] = [line for line in told.splitlines() if f"Port {port} " in line]
    return int(line.partition("127.0.0.1:")[2].split()[0])


def ask(box: Box, port: int) -> str:
    return box.run(sys.executable, PROBE, "ask", "127.0.0.1", str(port)).strip()


def test_one_that_was_asked_for(box: Box, told: str) -> None:
    assert ask(box, ASKED + 1) == f"program {ASKED}"


def test_one_that_was_found_has_the_same_number(box: Box, told: str) -> None:
    assert local_port(told, FOUND) == FOUND
    assert ask(box, FOUND) == f"program {FOUND}"


@pytest.mark.parametrize("port", [FOUND6, PRIVILEGED])
def test_one_whose_number_cannot_be_had_has_another(box: Box, told: str, port: int) -> None:
    assert local_port(told, port) != port
    assert ask(box, local_port(told, port)) == f"program {port}"
