"""The relay of flows: a process of the shadow pod's that holds connections while laptops come and go.

Laptops reach its unix socket by SSH channels (`direct-streamlocal`), see `ktpy.wire.flows`.
"""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from ktpy.wire.flows import CONTROL, NEW, OPENING_BYTES, RECEIVED, STRIPE, STRIPED, Note, Opening
from ktpy.wire.ledger import ACKNOWLEDGE_S
from ktpy_agent.flow import SPLICE_BYTES, Flow
from ktpy_agent.flow_session import FlowSession
from ktpy_agent.pod_log import log
from ktpy_agent.poller import READ, Poller
from ktpy_agent.striped_flow import StripedFlow

MAX_SESSIONS: Final = 16
"""A shadow pod is one laptop's, whose ktpy makes one session."""
SEND_BUFFER_BYTES: Final = 1 << 20
"""What is asked for as a channel's send buffer; the kernel gives what wmem_max allows, twice the default as a rule."""
_F_SETPIPE_SZ: Final = 1031
"""fcntl(2)"""
LOOK_S: Final = 1.0
"""Flows whose time is over are reset this soon."""


def listen(path: Path) -> socket.socket:
    """Make the socket that laptops reach."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(4096)
    return listener


def start(listener: socket.socket, register: Path) -> int:
    """Run the relay in a child process, which shares the memory of this one; return its pid."""
    if pid := os.fork():
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        FlowRelay(listener, register).serve()
    except BaseException as exc:  # nothing may get into the parent's code
        log(f"the relay of connections ends: {type(exc).__name__}: {exc}")
    finally:
        os._exit(1)


class FlowRelay:
    def __init__(self, listener: socket.socket, register: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """While flows wait for a laptop a connection to `register` keeps the pod alive."""
        self.sessions: dict[bytes, FlowSession] = {}
        self.striped: dict[bytes, StripedFlow] = {}
        self._listener, self._register, self._clock = listener, register, clock
        self._poller = Poller()
        self._unacknowledged: set[Flow] = set()
        self._acknowledge_s = 0.0
        self._registration: socket.socket | None = None
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        out, into = os.pipe2(os.O_CLOEXEC)
        self._pipe = into, out
        with suppress(OSError):  # without, it takes less at a time
            fcntl.fcntl(into, _F_SETPIPE_SZ, SPLICE_BYTES)
        self._poller.want(listener, READ, self._accept)

    def serve(self) -> None:
        while True:
            self.turn()

    def turn(self, timeout_s: float | None = None) -> None:
        """Move what there is, and wait for it, so long at most, if there is nothing."""
        if self._unacknowledged:
            timeout_s = max(0.0, self._acknowledge_s - self._clock())
        elif timeout_s is None and self._registration is not None:
            timeout_s = LOOK_S
        self._poller.turn(timeout_s)
        if self._unacknowledged and self._clock() >= self._acknowledge_s:
            self._acknowledge()
        is_waiting = self._registration is not None
        for session in self.sessions.values():
            session.flush()
            is_waiting = is_waiting or not session.is_linked
        if is_waiting:
            self._look()

    def close(self) -> None:
        """Reset every connection, and take no more."""
        for session in self.sessions.values():
            session.lose()
            session.expire()
        for flow in list(self.striped.values()):
            flow.reset()
        self._look()
        self._poller.close()
        for descriptor in (self._spare, *self._pipe):
            os.close(descriptor)
        self._listener.close()

    def _has_received(self, flow: Flow) -> None:
        if not self._unacknowledged:
            self._acknowledge_s = self._clock() + ACKNOWLEDGE_S
        self._unacknowledged.add(flow)

    def _acknowledge(self) -> None:
        due = [flow for flow in self._unacknowledged if flow.is_over or flow.incoming.is_due()]
        for flow in due:
            if not flow.is_over:
                flow.session.tell(Note(RECEIVED, flow.number, flow.incoming.received))
        self._unacknowledged.difference_update(due)
        self._acknowledge_s = self._clock() + ACKNOWLEDGE_S

    def _look(self) -> None:
        """Reset what has waited for too long, and keep the pod alive for the rest."""
        now_s = self._clock()
        for token, session in list(self.sessions.items()):
            if not session.is_linked and now_s >= session.expires_s:
                session.expire()
            if not session.is_linked and not session.flows:
                del self.sessions[token]
        waits = any(not session.is_linked for session in self.sessions.values())
        if waits and self._registration is None:
            self._registration = registration = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with suppress(OSError):  # the supervisor is gone, and so is the pod
                registration.connect(str(self._register))
        elif not waits and self._registration is not None:
            self._registration.close()
            self._registration = None

    # --- channels

    def _accept(self, _events: int) -> None:
        try:
            channel, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: whoever waits is turned away
            os.close(self._spare)
            with suppress(OSError):
                self._listener.accept()[0].close()
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return
        channel.setblocking(False)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._expect(channel)

    def _expect(self, channel: socket.socket, begun: bytes = b"") -> None:
        """Expect an opening, which may have begun: the channel is new, or has carried a flow to its end."""
        opening = bytearray(begun)
        self._poller.want(channel, READ, lambda _events: self._open(channel, opening))
        if len(opening) >= OPENING_BYTES:
            self._begin(channel, opening)

    def _open(self, channel: socket.socket, opening: bytearray) -> None:
        """Read what the channel begins with, and nothing after it."""
        try:
            data = channel.recv(OPENING_BYTES - len(opening))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        opening += data
        if not data or len(opening) >= OPENING_BYTES:
            self._begin(channel, opening)

    def _begin(self, channel: socket.socket, opening: bytearray) -> None:
        """Do what the opening says; a channel without one is closed."""
        try:
            opened = Opening.parse(bytes(opening)) if len(opening) == OPENING_BYTES else None
        except ValueError:
            opened = None
        if opened is None or not self._take(opened, channel):
            self._poller.forget(channel)
            channel.close()

    def _take(self, opening: Opening, channel: socket.socket) -> bool:
        if opening.kind in (STRIPED, STRIPE):
            return self._take_stripe(opening, channel)
        session = self.sessions.get(opening.token)
        if opening.kind == CONTROL:
            if session is None:
                if len(self.sessions) >= MAX_SESSIONS:
                    return False
                session = self.sessions[opening.token] = FlowSession(
                    self._poller, self._has_received, self._expect, self._pipe, self._clock
                )
            session.open(channel, opening.number)
            return True
        if session is None or not session.is_linked:
            return False
        if opening.kind == NEW:
            if opening.number in session.flows:
                return False
            flow = session.begin(opening.number)
            flow.attach(channel)
            flow.dial(opening.address, opening.port)
            return True
        if opening.number not in session.flows:
            session.read_notes()  # it may have been announced just now
        if (waiting := session.flows.get(opening.number)) is None:
            return False
        waiting.attach(channel)
        return True

    def _take_stripe(self, opening: Opening, channel: socket.socket) -> bool:
        striped = self.striped.get(opening.token)
        if (striped is None) != (opening.kind == STRIPED):
            return False
        if striped is not None:
            striped.join(channel)
            return True
        striped = StripedFlow(self._poller, self._expect, partial(self.striped.pop, opening.token, None))
        self.striped[opening.token] = striped
        striped.join(channel)
        striped.dial(opening.address, opening.port)
        return True
