"""Standard input and output of this process as a shell's pipes are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@pytest.fixture
def typed() -> Iterator[int]:
    """The end of standard input's pipe that is written to; the user of it closes it."""
    reading, writing = os.pipe()
    before = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    yield writing
    os.dup2(before, 0)
    os.close(before)


@contextmanager
def shown(monkeypatch: pytest.MonkeyPatch, name: str = "stdout") -> Iterator[int]:
    """The end of standard output's pipe that is read; the user of it closes it. No fixture: pytest replaces those."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(f"sys.{name}", output)
        yield reading
