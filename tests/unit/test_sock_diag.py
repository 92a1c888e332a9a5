"""What the kernel tells of sockets; who asks for what is in the tests of those that ask."""

import socket
from contextlib import closing

import pytest

from ktpy import sock_diag
from ktpy.sock_diag import find, listeners, open_sock_diag


def test_each_end_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(open_sock_diag()) as kernel:
        here = (bytes((127, 0, 0, 1)), listening.getsockname()[1])
        with socket.create_connection(listening.getsockname()) as client:
            there = (here[0], client.getsockname()[1])
            for own, other in ((here, there), (there, here)):
                found = find(kernel, socket.AF_INET, socket.IPPROTO_TCP, own, other)
                assert found is not None
                assert (found.address[:4], found.port, found.device) == (*own, 0)
        assert find(kernel, socket.AF_INET, socket.IPPROTO_TCP, (here[0], 1), (here[0], 2)) is None
        [found] = listeners(kernel, socket.AF_INET, here[1])
        assert found.port == here[1]


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(OSError, match="no sock_diag"):
        open_sock_diag()


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "_SOCK_DIAG_BY_FAMILY", 4711)
    with closing(open_sock_diag()) as kernel, pytest.raises(OSError):
        list(listeners(kernel, socket.AF_INET, 1))


def test_an_answer_that_is_not_looked_at_whole_does_not_answer_the_next_question() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(open_sock_diag()) as kernel:
        port = listening.getsockname()[1]
        assert all(any(listeners(kernel, socket.AF_INET, port)) for _ in range(3))
