"""Whose socket is at the other end: this process's, another user's, nobody's any more."""

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ktpy.capture.proxy import peer
from ktpy.capture.proxy.peer import login_where_needed, owner_of

NOBODY = pwd.getpwnam("nobody").pw_uid
CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
connection = socket.socket()
connection.connect(("127.0.0.1", int(sys.argv[2])))
print(connection.getsockname()[1], flush=True)
if sys.argv[3] == "stay":
    sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_ones_own(listener: socket.socket, family: socket.AddressFamily, host: str) -> None:
    """Java connects by IPv6 sockets to IPv4 addresses."""
    with socket.socket(family) as client:
        client.connect((host, listener.getsockname()[1]))
        accepted, name = listener.accept()
        with accepted:
            assert owner_of(name, accepted.getsockname()) == os.getuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("how", "owner"), [("stay", NOBODY), ("leave", None)])
def test_another_users(listener: socket.socket, how: str, owner: int | None) -> None:
    """Who sends and closes at once would be root else: the kernel shows a socket without a process so."""
    command = [sys.executable, "-c", CONNECT, str(NOBODY), str(listener.getsockname()[1]), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        accepted, name = listener.accept()
        with accepted:
            assert other.stdout is not None
            assert int(other.stdout.readline()) == name[1]
            if how == "leave":
                other.wait(60)
            assert owner_of(name, accepted.getsockname()) == owner
            other.communicate()


SEND = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b"x", ("127.0.0.1", int(sys.argv[2])))
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("uid", [os.getuid(), NOBODY])
def test_who_sends_datagrams(uid: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        command = [sys.executable, "-c", SEND, str(uid), str(receiver.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as other:
            _, name = receiver.recvfrom(10)
            assert owner_of(name, receiver.getsockname(), socket.IPPROTO_UDP) == uid
            other.communicate()
        assert owner_of(name, receiver.getsockname(), socket.IPPROTO_UDP) is None


def test_a_connection_that_there_is_not(listener: socket.socket) -> None:
    assert owner_of(("127.0.0.1", 1), listener.getsockname()) is None


def test_here_no_login_is_needed() -> None:
    assert login_where_needed() is None


@pytest.mark.parametrize("failure", [OSError("netlink is off"), AttributeError("AF_NETLINK")])
def test_a_kernel_that_does_not_tell_makes_a_login_needed(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(peer, "owner_of", fail)
    logins = {login_where_needed() for _ in range(2)}
    assert len(logins) == 2
    assert all(login and login[0] == "ktpy" and len(login[1]) == 32 for login in logins)


def test_a_kernel_that_takes_the_user_for_another_makes_a_login_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "owner_of", lambda *_: 65534)
    assert login_where_needed() is not None
