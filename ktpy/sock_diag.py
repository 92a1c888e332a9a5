"""Sockets of this network namespace, as the kernel tells of them (sock_diag(7), linux/inet_diag.h)."""

import errno
import os
import socket
import struct
from typing import Final, NamedTuple

ALL_STATES: Final = 0xFFFFFFFF
LISTENING: Final = 1 << 10  # TCP_LISTEN

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_ONE, _EVERY = 0x1, 0x301  # NLM_F_REQUEST, with NLM_F_DUMP
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ANY_COOKIE: Final = b"\xff" * 8
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBxxI2s2s16s16sI8s")
_ANSWER = struct.Struct("=20x2s2x16s16xI20xII")
"""Behind the header; the last two fields are user and inode."""
_ERROR = struct.Struct("=16xi")

End = tuple[bytes, int]
"""A packed address and a port."""


class InternetSocket(NamedTuple):
    """An InternetSocket is a TCP or UDP socket; `address` has 16 bytes, of which IPv4 uses the first four."""

    address: bytes
    port: int
    device: int
    """The index of the interface that it is bound to; 0 for none."""
    uid: int
    inode: int
    """0 where no process has it any more; `uid` is root's then."""


def open_sock_diag() -> socket.socket:
    """Return a socket on which the kernel can be asked. Raises OSError on a system that has no such thing."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no sock_diag")
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    kernel.settimeout(1.0)
    return kernel


def listeners(kernel: socket.socket, family: socket.AddressFamily, port: int) -> list[InternetSocket]:
    """Return the TCP sockets that listen on a port. Raises OSError where the kernel does not tell.

    All of the answer is read: what is left would be taken for that to the next question.
    """
    _send(kernel, _EVERY, family, socket.IPPROTO_TCP, LISTENING, (b"", port), (b"", 0))
    found = list[InternetSocket]()
    while True:
        answer = memoryview(kernel.recv(1 << 16))
        while answer:
            length, kind, *_ = _HEADER.unpack_from(answer)
            if kind == _NLMSG_DONE:
                return found
            found.append(_read(kind, answer))
            answer = answer[(length + 3) & ~3 :]


def find(
    kernel: socket.socket, family: socket.AddressFamily, protocol: int, source: End, destination: End
) -> InternetSocket | None:
    """Return the socket that the kernel finds by its own end and the other one; None where there is none."""
    _send(kernel, _ONE, family, protocol, ALL_STATES, source, destination)
    answer = memoryview(kernel.recv(1 << 16))
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR and _ERROR.unpack_from(answer)[0] == -errno.ENOENT:
        return None
    return _read(kind, answer)


def _send(
    kernel: socket.socket, flags: int, family: int, protocol: int, states: int, source: End, destination: End
) -> None:
    ports = (port.to_bytes(2, "big") for _, port in (source, destination))
    request = _REQUEST.pack(family, protocol, states, *ports, source[0], destination[0], 0, _ANY_COOKIE)
    kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + request)


def _read(kind: int, answer: memoryview) -> InternetSocket:
    if kind == _NLMSG_ERROR:
        number = -_ERROR.unpack_from(answer)[0]
        raise OSError(number, os.strerror(number))
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError("the kernel does not tell of its sockets")
    port, address, device, uid, inode = _ANSWER.unpack_from(answer)
    return InternetSocket(address, int.from_bytes(port, "big"), device, uid, inode)
