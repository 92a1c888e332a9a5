"""Copies of requests are sent to laptops here, and the answers thrown away.

HAProxy tells of each request over a unix socket (`haproxy_taps`), one connection from each of its processes. Each copy
is a connection to the unix socket of sshd's that leads to a laptop, as HTTP/1.1. Nothing of this is in the way of a
request: what a laptop does not take in time is dropped.
"""

import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ktpy_agent.control import listen
from ktpy_agent.counters import Count
from ktpy_agent.haproxy_taps import Tapped, parse, socket_path
from ktpy_agent.pod_log import log
from ktpy_agent.poller import READ_BYTES
from ktpy_agent.relay_child import RelayReport, heard, supervisor
from ktpy_agent.settings import Settings
from ktpy_agent.tap_child import TapRoute, parse_routes

UNDER_WAY = 32
"""So many copies of a tap are under way at a time."""
WAITING = 256
"""So many more wait; what comes then is dropped."""
HELD_BYTES = 16 << 20
"""More than this does not wait, of all taps."""
COPY_S = 10.0
"""A laptop has this long to answer a copy."""
ANSWER_BYTES = 1 << 20
"""Who answers more is hung up on."""
REPORT_S = 1.0
_MAX_LENGTH_DIGITS = 8


def run(settings: Settings) -> int:
    """Send copies until killed, or until the supervisor that started this has gone or hung up."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        listener = listen(Path(socket_path(str(settings.run_dir))))
        with listener, supervisor() as control, selectors.DefaultSelector() as selector:
            TapRelay(listener, control, selector).serve()
    except OSError as exc:
        log(f"cannot send copies to taps: {exc}")
        return 1
    return 0


class TapRelay:
    """A TapRelay reads HAProxy's lines, does what the supervisor says, and tells it what it has done."""

    def __init__(self, listener: socket.socket, control: socket.socket, selector: selectors.BaseSelector) -> None:
        self._listener, self._control, self._selector = listener, control, selector
        self._taps: dict[str, Tap] = {}
        self._readers: set[LineReader] = set()
        self._counts: dict[str, Count] = {}
        """What was done since the last report."""
        self._told_up: frozenset[str] = frozenset()
        self._report_due_s = 0.0
        self._is_over = False
        selector.register(control, selectors.EVENT_READ, self._obey)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Return when the supervisor is gone."""
        while not self._is_over:
            self.turn(REPORT_S)

    def turn(self, timeout_s: float) -> None:
        """Move what there is, or comes within the time."""
        for key, _ in self._selector.select(timeout_s):
            key.data()
        now_s = time.monotonic()
        for tap in self._taps.values():
            tap.end_late(now_s)
        if not self._is_over:
            self._report(now_s)

    def _obey(self) -> None:
        message = heard(self._control)
        if not message:
            self._is_over = True
            return
        routes = {route.name: route for route in parse_routes(message)}
        for name in self._taps.keys() - routes.keys():
            self._taps.pop(name).lead(None)
        for name, route in routes.items():
            if name not in self._taps:
                self._taps[name] = Tap(route, self._selector, self._count)
            self._taps[name].lead(route.socket)

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            reader = LineReader(connection, self._take)
            self._readers.add(reader)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(reader))

    def _read(self, reader: "LineReader") -> None:
        try:
            reader.read()
        except (EOFError, ValueError) as exc:
            if isinstance(exc, ValueError):
                log(f"HAProxy's lines about taps cannot be read, it begins anew: {exc}")
            self._selector.unregister(reader.connection)
            reader.connection.close()
            self._readers.discard(reader)

    def _take(self, line: bytes) -> None:
        if (tapped := parse(line)) is None:
            return
        for tap in filter(None, map(self._taps.get, tapped.names)):
            tap.take(tapped, is_full=sum(each.waiting_bytes for each in self._taps.values()) > HELD_BYTES)

    def _count(self, name: str, count: Count) -> None:
        self._counts[name] = self._counts.get(name, Count(0, 0)).plus(count)

    def _report(self, now_s: float) -> None:
        """Tell at once which taps are up, and once a second what was counted."""
        up = frozenset(name for name, tap in self._taps.items() if self._readers and tap.is_up)
        if up == self._told_up and (now_s < self._report_due_s or not self._counts):
            return
        with suppress(OSError):  # its end is read
            self._control.send(RelayReport(self._counts, up).encoded())
            self._told_up, self._report_due_s = up, now_s + REPORT_S
            self._counts.clear()


class LineReader:
    """A LineReader reads a connection of HAProxy's: each line after the number of its bytes and a space (RFC 6587)."""

    def __init__(self, connection: socket.socket, on_line: Callable[[bytes], None]) -> None:
        self.connection = connection
        connection.setblocking(False)
        self._on_line = on_line
        self._buffer = bytearray()

    def read(self) -> None:
        """Read what has come. Raises EOFError at the end, and ValueError for what are no lines of HAProxy's."""
        try:
            data = self.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            raise EOFError from exc
        if not data:
            raise EOFError
        self._buffer += data
        while (space := self._buffer.find(b" ", 0, _MAX_LENGTH_DIGITS)) >= 0:
            end = space + 1 + int(self._buffer[:space])
            if len(self._buffer) < end:
                return
            line = bytes(self._buffer[space + 1 : end])
            del self._buffer[:end]
            self._on_line(line)
        if len(self._buffer) >= _MAX_LENGTH_DIGITS:
            raise ValueError(f"{bytes(self._buffer[:_MAX_LENGTH_DIGITS])!r} is no length")


class Tap:
    """A Tap sends one laptop its copies."""

    def __init__(
        self, route: TapRoute, selector: selectors.BaseSelector, on_count: Callable[[str, Count], None]
    ) -> None:
        self._name, self._session = route.name, route.session
        self._selector, self._on_count = selector, on_count
        self._socket: str | None = None
        self._waiting: deque[bytes] = deque()
        self._under_way: dict[Copy, float] = {}  # the oldest first, until when it may last
        self.waiting_bytes = 0

    @property
    def is_up(self) -> bool:
        """Whether the laptop takes copies."""
        return self._socket is not None

    def lead(self, path: str | None) -> None:
        """Send copies to this socket from now on; drop those that wait where there is none."""
        self._socket = path
        if path is None:
            self._drop(len(self._waiting))
            self._waiting.clear()
            self.waiting_bytes = 0

    def take(self, tapped: Tapped, *, is_full: bool) -> None:
        """Send a copy, now or when others are done."""
        if not tapped.start:
            self._on_count(self._name, Count(0, 0, skipped=1))
        elif self._socket is None or is_full or len(self._waiting) >= WAITING:
            self._drop(1)
        else:
            copy = tapped.copy_for(self._session)
            self._waiting.append(copy)
            self.waiting_bytes += len(copy)
            self._begin()

    def end_late(self, now_s: float) -> None:
        """End the copies that have had their time."""
        late = [copy for copy, until_s in self._under_way.items() if until_s < now_s]
        for copy in late:
            copy.end()

    def _begin(self) -> None:
        while self._waiting and self._socket is not None and len(self._under_way) < UNDER_WAY:
            request = self._waiting.popleft()
            self.waiting_bytes -= len(request)
            try:
                copy = Copy(self._socket, request, self._selector, self._end)
            except OSError:  # the laptop has just gone, or sshd's queue of 128 connections is full
                self._drop(1)
            else:
                self._under_way[copy] = time.monotonic() + COPY_S

    def _end(self, copy: "Copy") -> None:
        del self._under_way[copy]
        if copy.answer_bytes:
            self._on_count(self._name, Count(1, 0))
        else:
            self._drop(1)
        self._begin()

    def _drop(self, number: int) -> None:
        if number:
            self._on_count(self._name, Count(0, 0, dropped=number))


class Copy:
    """A Copy is one request on its way to a laptop, and its answer until that ends."""

    def __init__(
        self, path: str, request: bytes, selector: selectors.BaseSelector, on_end: Callable[["Copy"], None]
    ) -> None:
        """Raises OSError where nobody listens."""
        self._selector, self._on_end = selector, on_end
        self._rest = memoryview(request)
        self.answer_bytes = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self._move)

    def end(self) -> None:
        """Hang up."""
        self._selector.unregister(self._socket)
        self._socket.close()
        self._on_end(self)

    def _move(self) -> None:
        try:
            if self._rest:
                self._rest = self._rest[self._socket.send(self._rest) :]
                if not self._rest:
                    self._selector.modify(self._socket, selectors.EVENT_READ, self._move)
            answer = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self.answer_bytes += len(answer)
        if not answer or self.answer_bytes > ANSWER_BYTES:
            self.end()
