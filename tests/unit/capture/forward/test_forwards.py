"""The laptop's ends of forwards, as real sockets of loopback."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ktpy.capture.forward import forwards
from ktpy.capture.forward.forwards import bind, bind_like


@pytest.fixture
def bound() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def port(own: socket.socket) -> int:
    return int(own.getsockname()[1])


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_it_has_the_number_of_the_remote_port_or_one_that_is_free(bound: ExitStack, protocol: str) -> None:
    wanted = bound.enter_context(bind(0, protocol))
    number = port(wanted)
    assert port(bound.enter_context(bind_like(number, protocol))) not in (number, 0)
    wanted.close()
    assert port(bound.enter_context(bind_like(number, protocol))) == number


def test_what_only_root_may_bind_has_a_number_of_its_own(bound: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(local: int, protocol: str) -> socket.socket:
        asked.append(local)
        if local < 1024 and local:
            raise PermissionError
        return bind(0, protocol)

    monkeypatch.setattr(forwards, "bind", refuse)
    bound.enter_context(bind_like(80, "TCP"))
    assert asked == [80, 8080]


def test_a_port_that_is_asked_for_and_taken_is_an_error(bound: ExitStack) -> None:
    taken = bound.enter_context(bind(0, "TCP"))
    with pytest.raises(OSError, match="in use"):
        bind(port(taken), "TCP")
