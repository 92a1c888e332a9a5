"""HAProxy has no UDP, so datagrams to an intercepted Service's UDP ports are relayed to the original pods here."""

import os
import selectors
import signal
import socket
import time
from collections import OrderedDict
from typing import NamedTuple

from ktpy.wire.gateway import GatewaySpec, Port, SpecError
from ktpy_agent.gateway_spec import parse_spec
from ktpy_agent.pod_log import log
from ktpy_agent.settings import Settings

IDLE_S = 120.0
"""A client without a datagram for this long is forgotten, as by Linux's conntrack (udp_timeout_stream)."""
MAX_CLIENTS = 4096
"""A port has at most this many clients; beyond it the longest idle one is forgotten."""
_MAX_DATAGRAM = 65535

Address = tuple[str, int] | tuple[str, int, int, int]


class Client(NamedTuple):
    address: Address
    origin: socket.socket
    """It is connected: only the original pods' answers arrive on it."""
    last_s: float


def run(settings: Settings) -> int:
    """Relay until killed, or until the supervisor that started this has gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        spec = parse_spec(settings.annotations.read_text(encoding="utf-8", errors="replace"))
        with selectors.DefaultSelector() as selector:
            relays = open_relays(spec, selector)
            supervisor = os.getppid()
            while os.getppid() == supervisor:
                for key, _ in selector.select(1.0):
                    key.data()
                for relay in relays:
                    relay.forget_idle(time.monotonic() - IDLE_S)
    except (OSError, SpecError) as exc:
        log(f"cannot relay UDP: {exc}")
        return 1
    return 0


def open_relays(spec: GatewaySpec, selector: selectors.BaseSelector) -> list["Relay"]:
    """Open a relay per UDP port; a preview, which has no original pods, has none."""
    if spec.origin is None:
        return []
    return [Relay(port, spec.origin, selector) for port in spec.udp_ports]


class Relay:
    """A Relay serves one port. Answers find their way back since each client has its own socket to the origin."""

    def __init__(self, port: Port, origin: str, selector: selectors.BaseSelector) -> None:
        self._origin = (origin, port.port)
        self._family = socket.AF_INET6 if ":" in origin else socket.AF_INET
        self._selector = selector
        self._clients: OrderedDict[Address, Client] = OrderedDict()  # the longest idle one first
        self._listener = _listen(port.bind)
        selector.register(self._listener, selectors.EVENT_READ, self._from_client)

    def forget_idle(self, before_s: float) -> None:
        """Forget the clients whose last datagram is older than that (monotonic, seconds)."""
        while self._clients and next(iter(self._clients.values())).last_s < before_s:
            self._forget_oldest()

    def _from_client(self) -> None:
        try:
            datagram, address = self._listener.recvfrom(_MAX_DATAGRAM)
            client = self._clients.get(address) or self._open(address)
            self._touch(client)
            client.origin.send(datagram)
        except OSError:
            return  # UDP promises nothing: a full buffer or an absent origin loses the datagram

    def _from_origin(self, address: Address) -> None:
        if (client := self._clients.get(address)) is None:
            return
        try:
            datagram = client.origin.recv(_MAX_DATAGRAM)
            self._touch(client)
            self._listener.sendto(datagram, address)
        except OSError:
            return  # also ECONNREFUSED, the origin's "port unreachable" for an earlier datagram

    def _open(self, address: Address) -> Client:
        if len(self._clients) >= MAX_CLIENTS:
            self._forget_oldest()
        origin = socket.socket(self._family, socket.SOCK_DGRAM)
        origin.setblocking(False)
        origin.connect(self._origin)
        self._selector.register(origin, selectors.EVENT_READ, lambda: self._from_origin(address))
        return Client(address, origin, time.monotonic())

    def _touch(self, client: Client) -> None:
        self._clients[client.address] = client._replace(last_s=time.monotonic())
        self._clients.move_to_end(client.address)

    def _forget_oldest(self) -> None:
        _, client = self._clients.popitem(last=False)
        self._selector.unregister(client.origin)
        client.origin.close()


def _listen(port: int) -> socket.socket:
    """Open a socket for both IP versions, where the pod has both."""
    if socket.has_dualstack_ipv6():
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("0.0.0.0", port))  # noqa: S104 - stands in for a Service
    listener.setblocking(False)
    return listener
