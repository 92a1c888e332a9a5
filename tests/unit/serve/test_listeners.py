"""Real listeners of this machine's loopback, which are never connected to."""

import socket

import pytest

from ktpy.serve.listeners import is_listened_on
from tests.kit.ports import free_port


def test_a_port_that_nobody_listens_on() -> None:
    assert not is_listened_on(free_port())


@pytest.mark.parametrize(
    ("address", "v6only"),
    [
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::", False),
        ("::", True),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_listeners_that_a_connection_to_a_loopback_address_reaches(address: str, v6only: bool) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listening:
        if v6only:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, 0))
        port = listening.getsockname()[1]
        assert not is_listened_on(port), "bound, but not listening"
        listening.listen(1)
        assert is_listened_on(port)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert not is_listened_on(port)


def test_a_listener_on_another_address_is_not_reached() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        assert not is_listened_on(listening.getsockname()[1])


def test_connections_are_no_listeners() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        port = listening.getsockname()[1]
        accepted = listening.accept()[0]
    with client, accepted:
        assert not is_listened_on(port)
