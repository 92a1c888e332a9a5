"""What an SSH session runs that carries datagrams: each flow of the laptop has a socket of its own in the pod.

A UDP socket is not connected, so a program that talks to many has one address towards all of them, as a pod has. Only
hosts that it has sent to are heard (RFC 4787: address-dependent filtering), and the errors of each target come through
the socket's error queue (IP_RECVERR of ip(7)). An echo's is an unprivileged ICMP socket (icmp(7): ping_group_range),
whose kernel puts an identifier of its own in.
"""

import errno
import os
import socket
import struct
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from ktpy.wire.datagram import (
    BEAT,
    DATAGRAM,
    ECHO,
    FAILED,
    FORGET,
    NOWHERE,
    Failure,
    Frame,
    FrameParser,
    beat,
    mapped,
    unmapped,
)
from ktpy_agent.poller import READ, READ_BYTES, WRITE, Poller
from ktpy_agent.session import end_connection, hello
from ktpy_agent.settings import Settings

OUTBOX_BYTES: Final = 1 << 19
"""More than this does not wait for the tunnel; it is dropped."""
TURN_DATAGRAMS: Final = 64
"""So many are read from a socket before the others have their turn."""
BUFFER_BYTES: Final = 4 << 20
"""What is asked for as a socket's receive buffer; the kernel gives what rmem_max allows."""
MAX_TARGETS: Final = 65536
MAX_PEERS: Final = 4096
"""Beyond this many a flow begins to collect anew."""
_MAX_DATAGRAM: Final = 65535
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_ORIGIN_ICMP: Final = (2, 3)
"""SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6 of linux/errqueue.h"""
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data"""
_ECHO: Final = struct.Struct("!BBHHH")
_REQUEST: Final = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY: Final = {socket.AF_INET: 0, socket.AF_INET6: 129}
_UNREACHABLE: Final = {socket.AF_INET: 3, socket.AF_INET6: 1}
_CODES: Final = {
    errno.ENETUNREACH: (0, 0),
    errno.EHOSTUNREACH: (1, 3),
    errno.ECONNREFUSED: (3, 4),
    errno.EACCES: (13, 1),
    errno.EPERM: (13, 1),
    errno.EMFILE: (13, 1),
    errno.ENFILE: (13, 1),
    errno.EAFNOSUPPORT: (0, 0),
    errno.EADDRNOTAVAIL: (0, 0),
}
"""The code of "destination unreachable", of ICMP and of ICMPv6, for an errno of the pod's own kernel."""

Target = tuple[str, int]


def run(settings: Settings) -> int:
    """Say hello, carry datagrams while the laptop beats and the supervisor lives, then end this SSH connection."""
    sshd_pid = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as register:
        complaint = ""
        try:
            register.connect(str(settings.socket))
            sys.stdout.buffer.write(hello(Path("/etc/resolv.conf"), settings))
            sys.stdout.buffer.flush()
            DatagramRelay(sys.stdin.fileno(), sys.stdout.fileno(), register).serve(settings.silence_s)
        except OSError as exc:
            complaint = f"ktpy-agent datagrams ends: {exc}\n"
        finally:
            end_connection(sshd_pid, complaint)
    return 0


class Flow:
    """A Flow is one socket of a program on the laptop."""

    __slots__ = ("family", "number", "peers", "socket")

    def __init__(self, number: int, kind: int, family: socket.AddressFamily) -> None:
        """Raises OSError where there is no such socket to be had."""
        protocol = 0
        if kind == ECHO:
            protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        self.number, self.family = number, family
        self.peers: set[str] = set()
        """Hosts that it has sent to."""
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
        # A kernel that is not Linux' (gVisor) may not have it, and carries datagrams all the same.
        with suppress(OSError):
            self.socket.setsockopt(*_error_option(family), 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


class DatagramRelay:
    """A DatagramRelay moves datagrams between the frames of one laptop and the pod's network."""

    def __init__(self, frames_in: int, frames_out: int, register: socket.socket) -> None:
        """`register` becomes readable when the supervisor is gone."""
        self.dropped = 0
        self._in, self._out, self._poller = frames_in, frames_out, Poller()
        self._reader = FrameParser()
        self._flows: dict[int, Flow] = {}
        self._targets: dict[tuple[bytes, int], Target] = {}
        self._outbox = bytearray()
        self._is_over = False
        self._beaten_s = time.monotonic()
        os.set_blocking(frames_in, False)
        os.set_blocking(frames_out, False)
        self._poller.want(frames_in, READ, self._from_laptop)
        self._poller.want(register, READ, self._end)

    def serve(self, silence_s: float) -> None:
        """Return when the laptop is silent for so long, or has ended, or the supervisor is gone."""
        while not self._is_over and time.monotonic() - self._beaten_s < silence_s:
            self.turn(min(silence_s, 1.0))

    def turn(self, timeout_s: float) -> None:
        """Move what there is, or comes within the time."""
        self._poller.turn(timeout_s)
        self._flush()

    def _end(self, _events: int = 0) -> None:
        self._is_over = True

    # --- from the laptop

    def _from_laptop(self, _events: int) -> None:
        try:
            data = os.read(self._in, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._end()
            return
        self._beaten_s = time.monotonic()
        for frame in self._reader.feed(data):
            self.take(frame)

    def take(self, frame: Frame) -> None:
        """Do what a frame asks for. Kinds that are unknown here are passed over."""
        if frame.kind == BEAT:
            self._put(beat(self.dropped))
        elif frame.kind == FORGET:
            self._forget(frame.flow)
        elif frame.kind in (DATAGRAM, ECHO):
            try:
                flow = self._flows.get(frame.flow) or self._open(frame)
                self._send(flow, frame)
            except BlockingIOError:
                self.dropped += 1
            except OSError as exc:
                self._fail(frame, exc.errno or 0)

    def _open(self, frame: Frame) -> Flow:
        family = socket.AF_INET if len(unmapped(frame.address)) == 4 else socket.AF_INET6
        flow = self._flows[frame.flow] = Flow(frame.flow, frame.kind, family)
        self._poller.want(flow.socket, READ, partial(self._from_cluster, flow))
        return flow

    def _send(self, flow: Flow, frame: Frame) -> None:
        port, payload = frame.port, frame.payload
        if frame.kind == ECHO:
            port, payload = 0, _ECHO.pack(_REQUEST[flow.family], 0, 0, 0, frame.port) + payload
        target = self._targets.get((frame.address, port)) or self._target(frame.address, port)
        if len(flow.peers) >= MAX_PEERS:
            flow.peers.clear()
        flow.peers.add(target[0])
        try:
            flow.socket.sendto(payload, target)
        except BlockingIOError:
            raise
        except OSError:  # it may be of what was sent before, to another target perhaps
            if not self._read_errors(flow):
                raise
            flow.socket.sendto(payload, target)

    def _target(self, address: bytes, port: int) -> Target:
        packed = unmapped(address)
        text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        self._targets[address, port] = text, port
        return text, port

    def _forget(self, number: int) -> None:
        if (flow := self._flows.pop(number, None)) is not None:
            self._poller.forget(flow.socket)
            flow.socket.close()

    # --- from the cluster

    def _from_cluster(self, flow: Flow, _events: int) -> None:
        kind = ECHO if flow.socket.proto in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6) else DATAGRAM
        for turn in range(TURN_DATAGRAMS):
            try:
                payload, (host, port, *_) = flow.socket.recvfrom(_MAX_DATAGRAM)
            except OSError as exc:
                if (turn and isinstance(exc, BlockingIOError)) or not self._read_errors(flow):
                    return
                continue
            if host not in flow.peers:
                continue
            if kind == ECHO:
                if len(payload) < _ECHO.size or payload[0] != _REPLY[flow.family]:
                    continue
                port, payload = _ECHO.unpack_from(payload)[4], payload[_ECHO.size :]
            self._put(Frame(kind, flow.number, port, self._packed(flow, host), payload).encoded())

    def _read_errors(self, flow: Flow) -> bool:
        """Tell the laptop of the ICMP errors that have come for a socket; return whether there was an error at all."""
        found = False
        while True:
            try:
                quoted, extras, _, address = flow.socket.recvmsg(512, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return found
            found = True
            for level, option, data in extras:
                if (level, option) == _error_option(flow.family) and address:
                    self._tell(flow, quoted, data, address)

    def _tell(self, flow: Flow, quoted: bytes, data: bytes, address: tuple[str, int]) -> None:
        error, origin, kind, code, _, _, _ = _EXTENDED_ERROR.unpack_from(data)
        if origin not in _ORIGIN_ICMP or error == errno.EMSGSIZE:
            return  # the kernel fragments what is too large from now on
        host, port = address[:2]
        if port == 0 and len(quoted) >= _ECHO.size:
            port = _ECHO.unpack_from(quoted)[4]
        router = NOWHERE
        offender = data[_EXTENDED_ERROR.size :]
        if flow.family == socket.AF_INET and len(offender) >= 8 and any(offender[4:8]):
            router = mapped(offender[4:8])
        elif flow.family == socket.AF_INET6 and len(offender) >= 24 and any(offender[8:24]):
            router = offender[8:24]
        failure = Failure(kind, code, router).encoded()
        self._put(Frame(FAILED, flow.number, port, self._packed(flow, host), failure).encoded())

    def _fail(self, frame: Frame, error: int) -> None:
        """Say what the pod's own kernel said; what only concerns the one datagram is dropped."""
        family = socket.AF_INET if len(unmapped(frame.address)) == 4 else socket.AF_INET6
        if (codes := _CODES.get(error)) is None:
            self.dropped += 1
            return
        failure = Failure(_UNREACHABLE[family], codes[family == socket.AF_INET6], NOWHERE).encoded()
        self._put(Frame(FAILED, frame.flow, frame.port, frame.address, failure).encoded())

    @staticmethod
    def _packed(flow: Flow, host: str) -> bytes:
        return mapped(socket.inet_pton(flow.family, host.partition("%")[0]))

    # --- to the laptop

    def _put(self, frame: bytes) -> None:
        if len(self._outbox) > OUTBOX_BYTES:
            self.dropped += 1
            return
        self._outbox += frame

    def _flush(self, _events: int = 0) -> None:
        if self._outbox:
            with suppress(BlockingIOError):
                del self._outbox[: os.write(self._out, self._outbox)]
        self._poller.want(self._out, WRITE * bool(self._outbox), self._flush)


def _error_option(family: socket.AddressFamily) -> tuple[int, int]:
    return (socket.IPPROTO_IP, _IP_RECVERR) if family == socket.AF_INET else (socket.IPPROTO_IPV6, _IPV6_RECVERR)
