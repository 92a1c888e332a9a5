"""HAProxy has no UDP, so datagrams to an intercepted Service's UDP ports are relayed here.

They go to the laptop whose route has the port while that lives, else to the original pods. The way to a laptop is a
unix socket of sshd's, as for TCP: one connection to it carries the datagrams of all clients, as frames
(`ktpy.wire.datagram`) in which each client is a flow.
"""

import selectors
import signal
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from ktpy.wire.datagram import DATAGRAM, FORGET, NOWHERE, Frame, FrameParser, mapped
from ktpy.wire.gateway import GatewaySpec, Port, SpecError
from ktpy_agent.counters import Count
from ktpy_agent.gateway_spec import parse_spec
from ktpy_agent.pod_log import log
from ktpy_agent.poller import READ_BYTES
from ktpy_agent.relay_child import RelayReport, heard, supervisor
from ktpy_agent.settings import Settings
from ktpy_agent.udp_child import UdpRoute, parse_routes

IDLE_S = 30.0
"""A client that nobody has answered is forgotten after this long, as by Linux's conntrack (udp_timeout)."""
ANSWERED_IDLE_S = 120.0
"""So is one that somebody has answered (udp_timeout_stream)."""
MAX_CLIENTS = 4096
"""A port has at most this many clients; beyond it the longest idle one is forgotten."""
TURN_DATAGRAMS = 64
"""So many are read from a socket before the others have their turn."""
OUTBOX_BYTES = 1 << 19
"""More than this does not wait for a laptop; it is dropped."""
RETRY_S = 0.05
"""A laptop's socket may be there a moment before the laptop knows."""
REPORT_S = 1.0
EXPIRY_S = 1.0
"""Each look at all clients costs up to a millisecond."""
BUFFER_BYTES = 4 << 20
"""What is asked for as a socket's receive buffer; the kernel gives what rmem_max allows."""
_MAX_DATAGRAM = 65535

Address = tuple[str, int] | tuple[str, int, int, int]


def run(settings: Settings) -> int:
    """Relay until killed, or until the supervisor that started this has gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        spec = parse_spec(settings.annotations.read_text(encoding="utf-8", errors="replace"))
        with supervisor() as control, selectors.DefaultSelector() as selector:
            UdpRelays(spec, control, selector).serve()
    except (OSError, SpecError) as exc:
        log(f"cannot relay UDP: {exc}")
        return 1
    return 0


class UdpRelays:
    """An UdpRelays has a relay for each UDP port, does what the supervisor says, and tells it what it has done."""

    def __init__(self, spec: GatewaySpec, control: socket.socket, selector: selectors.BaseSelector) -> None:
        self._control, self._selector = control, selector
        self._relays = {port.port: Relay(port, spec.origin, selector) for port in spec.udp_ports}
        self._told_up: frozenset[str] = frozenset()
        self._report_due_s = 0.0
        self._expiry_due_s = 0.0
        self._is_over = False
        selector.register(control, selectors.EVENT_READ, self._obey)

    def serve(self) -> None:
        """Return when the supervisor is gone."""
        while not self._is_over:
            self.turn(RETRY_S if any(relay.is_trying for relay in self._relays.values()) else REPORT_S)

    def turn(self, timeout_s: float) -> None:
        """Move what there is, or comes within the time."""
        for key, _ in self._selector.select(timeout_s):
            key.data()
        now_s = time.monotonic()
        for relay in self._relays.values():
            relay.reach_laptop(now_s)
            if now_s >= self._expiry_due_s:
                relay.expire(now_s)
        if now_s >= self._expiry_due_s:
            self._expiry_due_s = now_s + EXPIRY_S
        if not self._is_over:
            self._report(now_s)

    def _obey(self) -> None:
        message = heard(self._control)
        if not message:
            self._is_over = True
            return
        routes = parse_routes(message)
        for port, relay in self._relays.items():
            relay.lead(routes.get(port))

    def _report(self, now_s: float) -> None:
        """Tell at once which routes are up, and once a second what was counted."""
        up = frozenset(name for relay in self._relays.values() if (name := relay.route_up) is not None)
        if up == self._told_up and now_s < self._report_due_s:
            return
        counts = {name: count for relay in self._relays.values() for name, count in relay.counts.items()}
        if up == self._told_up and not counts:
            return
        with suppress(OSError):  # its end is read
            self._control.send(RelayReport(counts, up).encoded())
            self._told_up, self._report_due_s = up, now_s + REPORT_S
            for relay in self._relays.values():
                relay.counts.clear()


class Client:
    """A Client is one socket that sends to the Service."""

    __slots__ = ("address", "is_answered", "last_s", "number", "origin", "packed")

    def __init__(self, number: int, address: Address) -> None:
        self.number, self.address = number, address
        host = address[0].partition("%")[0]
        self.packed = mapped(socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host))
        self.origin: socket.socket | None = None
        """Is connected, so that only the original pods' answers arrive on it; None until it is needed."""
        self.last_s = 0.0
        self.is_answered = False


class Relay:
    """A Relay serves one port. Answers find their way back: each client has its own socket, here or on the laptop."""

    def __init__(self, port: Port, origin: str | None, selector: selectors.BaseSelector) -> None:
        """`origin` is where the original pods are; None for a preview, which has none."""
        self._origin = (origin, port.port) if origin is not None else None
        self._selector = selector
        self._clients: OrderedDict[Address, Client] = OrderedDict()  # the longest idle one first
        self._by_number: dict[int, Client] = {}
        self._last_number = 0
        self._route: UdpRoute | None = None
        self._laptop: LaptopStream | None = None
        self._retry_s = 0.0
        self._origin_name = f"origin{port.port}/UDP"
        self.counts: dict[str, Count] = {}
        """What was relayed since somebody has cleared it, by route; by the last name where nobody has the port."""
        self._listener = _listen(port.bind)
        selector.register(self._listener, selectors.EVENT_READ, self._from_clients)

    @property
    def is_trying(self) -> bool:
        """Whether a laptop is to be reached that is not yet."""
        return self._route is not None and self._route.socket is not None and self.route_up is None

    @property
    def route_up(self) -> str | None:
        """The name of the route whose laptop has the datagrams now."""
        return self._route.name if self._route and self._laptop and self._laptop.is_up else None

    def lead(self, route: UdpRoute | None) -> None:
        """Let this route have the port, None the original pods."""
        if route != self._route:
            self._route, self._retry_s = route, 0.0
            self._hang_up()

    def reach_laptop(self, now_s: float) -> None:
        """Connect to the laptop's socket, where there is one."""
        if self._laptop is None and self._route is not None and self._route.socket is not None:
            if now_s < self._retry_s:
                return
            self._retry_s = now_s + RETRY_S
            with suppress(OSError):
                self._laptop = LaptopStream(self._route.socket, self._selector, self._from_laptop, self._hang_up)

    def expire(self, now_s: float) -> None:
        """Forget the clients whose time has come."""
        for client in list(self._clients.values()):
            idle_s = now_s - client.last_s
            if idle_s < IDLE_S:
                break
            if idle_s >= ANSWERED_IDLE_S or not client.is_answered:
                self._forget(client)

    # --- from clients

    def _from_clients(self) -> None:
        for _ in range(TURN_DATAGRAMS):
            try:
                datagram, address = self._listener.recvfrom(_MAX_DATAGRAM)
            except OSError:
                return
            with suppress(OSError):  # UDP promises nothing: a full buffer or an absent origin loses the datagram
                self._relay(datagram, self._clients.get(address) or self._add(address))

    def _relay(self, datagram: bytes, client: Client) -> None:
        self._touch(client)
        route, laptop = self._route, self._laptop
        if route is not None and laptop is not None and laptop.is_up:
            laptop.send(Frame(DATAGRAM, client.number, client.address[1], client.packed, datagram))
            self._count(route.name, Count(1, 0))
        elif self._origin is not None and not (route and route.fails_when_down):
            client.origin = client.origin or self._open_origin(client)
            client.origin.send(datagram)
            self._count(route.name if route else self._origin_name, Count(0, 1))

    def _count(self, name: str, count: Count) -> None:
        self.counts[name] = self.counts.get(name, Count(0, 0)).plus(count)

    def _add(self, address: Address) -> Client:
        if len(self._clients) >= MAX_CLIENTS:
            self._forget(next(iter(self._clients.values())))
        self._last_number = self._last_number % 0xFFFFFFFF + 1
        client = Client(self._last_number, address)
        self._clients[address] = self._by_number[client.number] = client
        return client

    def _open_origin(self, client: Client) -> socket.socket:
        assert self._origin is not None  # noqa: S101 - whoever calls this has looked
        origin = socket.socket(socket.AF_INET6 if ":" in self._origin[0] else socket.AF_INET, socket.SOCK_DGRAM)
        origin.setblocking(False)
        origin.connect(self._origin)
        self._selector.register(origin, selectors.EVENT_READ, lambda: self._from_origin(client, origin))
        return origin

    # --- to clients

    def _from_origin(self, client: Client, origin: socket.socket) -> None:
        with suppress(OSError):  # also ECONNREFUSED, the origin's "port unreachable" for an earlier datagram
            for _ in range(TURN_DATAGRAMS):
                self._answer(client, origin.recv(_MAX_DATAGRAM))

    def _from_laptop(self, frame: Frame) -> None:
        if frame.kind == DATAGRAM and (client := self._by_number.get(frame.flow)) is not None:
            self._answer(client, frame.payload)

    def _answer(self, client: Client, datagram: bytes) -> None:
        client.is_answered = True
        self._touch(client)
        with suppress(OSError):
            self._listener.sendto(datagram, client.address)

    # --- clients and the laptop come and go

    def _touch(self, client: Client) -> None:
        if client.address in self._clients:
            client.last_s = time.monotonic()
            self._clients.move_to_end(client.address)

    def _forget(self, client: Client) -> None:
        del self._clients[client.address], self._by_number[client.number]
        if client.origin is not None:
            self._selector.unregister(client.origin)
            client.origin.close()
        if self._laptop is not None:
            self._laptop.send(Frame(FORGET, client.number, 0, NOWHERE, b""))

    def _hang_up(self) -> None:
        if self._laptop is not None:
            self._laptop.close()
            self._laptop = None


class LaptopStream:
    """A LaptopStream is a connection to the socket of a laptop, which sends a frame as soon as it is there."""

    def __init__(
        self,
        path: str,
        selector: selectors.BaseSelector,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[], None],
    ) -> None:
        """Raises OSError where nobody listens."""
        self.is_up = False
        self._selector, self._on_frame, self._on_end = selector, on_frame, on_end
        self._reader = FrameParser()
        self._outbox = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        selector.register(self._socket, selectors.EVENT_READ, self._move)

    def send(self, frame: Frame) -> None:
        """Send it, or drop it where too much waits."""
        if len(self._outbox) <= OUTBOX_BYTES:
            is_idle = not self._outbox
            self._outbox += frame.encoded()
            if is_idle:
                self._flush()

    def close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()

    def _move(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            self._flush()  # it was for that
            return
        except OSError:
            data = b""
        if not data:
            self._on_end()
            return
        self.is_up = True
        for frame in self._reader.feed(data):
            self._on_frame(frame)
        self._flush()

    def _flush(self) -> None:
        with suppress(OSError):  # its end is read
            while self._outbox:
                del self._outbox[: self._socket.send(self._outbox)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self._move)


def _listen(port: int) -> socket.socket:
    """Open a socket for both IP versions, where the pod has both."""
    if socket.has_dualstack_ipv6():
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("0.0.0.0", port))  # noqa: S104 - stands in for a Service
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    listener.setblocking(False)
    return listener
