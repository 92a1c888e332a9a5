"""Who the helper works for, and what it does not take for its caller."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from ktpy.errors import HelperFailed, PrivilegeMissing
from ktpy.helper import __main__ as main

SOMEBODY = 4711


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)


def made_by(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Let the kernel say that this user made the socket."""
    monkeypatch.setattr(struct, "unpack", lambda *_: (1, uid, 0))


@pytest.mark.usefixtures("as_root")
def test_who_made_the_socket(sock: socket.socket) -> None:
    assert main._caller_uid(sock) == os.getuid()


@pytest.mark.usefixtures("as_root")
def test_root_by_sudo_stands_for_who_called_sudo(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, 0)
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    assert main._caller_uid(sock) == SOMEBODY


@pytest.mark.usefixtures("as_root")
def test_a_socket_of_somebody_else_is_refused(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, SOMEBODY + 1)
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    with pytest.raises(PrivilegeMissing, match=f"started for user {SOMEBODY} but speaks to {SOMEBODY + 1}"):
        main._caller_uid(sock)


def test_without_root_it_does_not_begin(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    with pytest.raises(PrivilegeMissing, match="not started as root"):
        main._caller_uid(sock)


@pytest.fixture
def standard_input() -> Iterator[int]:
    kept = os.dup(0)
    yield 0
    os.dup2(kept, 0)
    os.close(kept)


def test_its_standard_input_is_the_socket(sock: socket.socket, standard_input: int) -> None:
    os.dup2(sock.fileno(), standard_input)
    with main._inherited_socket() as inherited:
        assert inherited.type == socket.SOCK_SEQPACKET


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, None])
def test_another_standard_input_is_refused(kind: socket.SocketKind | None, standard_input: int) -> None:
    if kind is None:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    else:
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        other.close()
        descriptor = one.detach()
    os.dup2(descriptor, standard_input)
    os.close(descriptor)
    with pytest.raises(HelperFailed, match="not the socket it was started with"):
        main._inherited_socket()
