"""The relay of flows: a process of the shadow pod's that holds connections while laptops come and go.

Laptops reach its unix socket by SSH channels (`direct-streamlocal`), see `ktpy.wire.flows`, and its TCP port by
port-forwards, for bulk, see `ktpy.wire.stripes`.
"""

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
from ktpy_agent.flow import Flow
from ktpy_agent.flow_session import FlowSession
from ktpy_agent.pipe import Pipe
from ktpy_agent.pod_log import log
from ktpy_agent.poller import READ, Poller
from ktpy_agent.striped_flow import StripedFlow

MAX_SESSIONS: Final = 16
"""A shadow pod is one laptop's, whose ktpy makes one session."""
SEND_BUFFER_BYTES: Final = 1 << 20
"""What is asked for as a channel's send buffer; the kernel gives what wmem_max allows, twice the default as a rule."""
LOOK_S: Final = 1.0
"""Flows whose time is over are reset this soon."""

_Take = Callable[[Opening, socket.socket], bool]
"""A _Take does what an opening says, and returns whether it could."""


def listen(path: Path) -> socket.socket:
    """Make the socket that laptops reach."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(4096)
    return listener


def listen_for_bulk(port_file: Path) -> socket.socket:
    """Make the socket that takes bulk on the pod's loopback, where a port-forward finds it; its port is in the file."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)
    port_file.write_text(str(listener.getsockname()[1]), encoding="ascii")
    return listener


def start(listener: socket.socket, register: Path, bulk: socket.socket | None = None) -> int:
    """Run the relay in a child process, which shares the memory of this one; return its pid."""
    if pid := os.fork():
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        FlowRelay(listener, register, bulk).serve()
    except BaseException as exc:  # nothing may get into the parent's code
        log(f"the relay of connections ends: {type(exc).__name__}: {exc}")
    finally:
        os._exit(1)


class FlowRelay:
    def __init__(
        self,
        listener: socket.socket,
        register: Path,
        bulk: socket.socket | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """While flows wait for a laptop a connection to `register` keeps the pod alive."""
        self.sessions: dict[bytes, FlowSession] = {}
        self.striped: dict[bytes, StripedFlow] = {}
        self._listener, self._bulk, self._register, self._clock = listener, bulk, register, clock
        self._poller = Poller()
        self._unacknowledged: set[Flow] = set()
        self._acknowledge_s = 0.0
        self._registration: socket.socket | None = None
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._pipe = Pipe()
        self._poller.want(listener, READ, self._accept)
        if bulk is not None:
            self._poller.want(bulk, READ, self._accept_bare)

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
        os.close(self._spare)
        self._pipe.close()
        self._listener.close()
        if self._bulk is not None:
            self._bulk.close()

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
        if (channel := self._accepted(self._listener)) is not None:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._expect(channel)

    def _accept_bare(self, _events: int) -> None:
        """Everybody in the pod may connect; who knows no token of a connection under way is turned away."""
        assert self._bulk is not None  # noqa: S101 - it is called back for it
        if (channel := self._accepted(self._bulk)) is not None:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._expect(channel, take=self._take_stripe)

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        try:
            channel, _ = listener.accept()
        except BlockingIOError:
            return None
        except OSError:  # no descriptor is left: whoever waits is turned away
            os.close(self._spare)
            with suppress(OSError):
                listener.accept()[0].close()
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return None
        channel.setblocking(False)
        return channel

    def _expect(self, channel: socket.socket, begun: bytes = b"", take: _Take | None = None) -> None:
        """Expect an opening, which may have begun: the channel is new, or has carried a flow to its end."""
        opening = bytearray(begun)
        take = take or self._take
        self._poller.want(channel, READ, lambda _events: self._open(channel, opening, take))
        if len(opening) >= OPENING_BYTES:
            self._begin(channel, opening, take)

    def _open(self, channel: socket.socket, opening: bytearray, take: _Take) -> None:
        """Read what the channel begins with, and nothing after it."""
        try:
            data = channel.recv(OPENING_BYTES - len(opening))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        opening += data
        if not data or len(opening) >= OPENING_BYTES:
            self._begin(channel, opening, take)

    def _begin(self, channel: socket.socket, opening: bytearray, take: _Take) -> None:
        """Do what the opening says; a channel without one is closed."""
        try:
            opened = Opening.parse(bytes(opening)) if len(opening) == OPENING_BYTES else None
        except ValueError:
            opened = None
        if opened is None or not take(opened, channel):
            self._poller.forget(channel)
            channel.close()

    def _take(self, opening: Opening, channel: socket.socket) -> bool:
        if opening.kind in (STRIPED, STRIPE):
            return (
                self._take_striped(opening, channel) if opening.kind == STRIPED else self._take_stripe(opening, channel)
            )
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

    def _take_striped(self, opening: Opening, channel: socket.socket) -> bool:
        if opening.token in self.striped:
            return False
        forget = partial(self.striped.pop, opening.token, None)
        striped = self.striped[opening.token] = StripedFlow(self._poller, channel, self._expect, forget, self._pipe)
        striped.dial(opening.address, opening.port)
        return True

    def _take_stripe(self, opening: Opening, channel: socket.socket) -> bool:
        striped = self.striped.get(opening.token)
        if striped is None or opening.kind != STRIPE:
            return False
        striped.join(channel)
        return True
