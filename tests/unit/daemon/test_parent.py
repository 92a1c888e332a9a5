import os
import socket
from collections.abc import Iterator

import pytest

from ktpy.daemon import parent as module
from ktpy.daemon.parent import VARIABLE, parent, tell


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Its end."""
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    monkeypatch.setenv(VARIABLE, str(theirs.detach()))
    parent.cache_clear()
    with ours:
        yield ours
        if (found := parent()) is not None:
            found.close()
    parent.cache_clear()


def test_it_hears_lines_and_nobody_inherits_the_channel(program: socket.socket) -> None:
    assert tell("one")
    assert tell("two")
    found = parent()
    assert found is not None
    assert (program.recv(100), VARIABLE in os.environ, found.get_inheritable()) == (b"one\ntwo\n", False, False)


def test_one_that_listens_no_more_keeps_nothing_waiting(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.001)
    for _ in range(100):
        assert tell("x" * 10_000)
    program.close()
    assert tell("nobody hears it")


@pytest.mark.parametrize("number", ["", "nonsense", "999999"])
def test_nobody_waits(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, number)
    module.parent.cache_clear()
    assert (tell("one"), parent()) == (False, None)
