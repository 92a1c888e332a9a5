"""The front of mode `proxy`: a loopback port for programs that are told of it. Nothing on the laptop is changed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ktpy.capture.proxy.dialler import Dialler
from ktpy.capture.proxy.names import Names
from ktpy.capture.proxy.peer import login_where_needed
from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.settings import LOOPBACK, environment, pac_file
from ktpy.capture.spec import LINK_WITHIN_S, Launched
from ktpy.cluster.routing.networks import Address, Network
from ktpy.dns.forward import Forwarder
from ktpy.dns.lookup import ClusterLookup
from ktpy.dns.records import normalised
from ktpy.dns.resolver import OnAlias, SplitResolver
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import cluster_domain_in, search_path
from ktpy.dns.zone import Zone
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import Uplink
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Report
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial
    from ktpy.cluster.routing.ranges import RoutedRange

DNS_PORT = 53


@dataclass(slots=True)
class ProxyFront:
    """A ProxyFront is ready before anything is known of the cluster; its port accepts once names are answered."""

    listener: socket.socket
    login: tuple[str, str] | None
    networks: list[Network] = field(default_factory=list)
    names: "asyncio.Future[Names]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _proxied: ApiEndpoint | None = None
    _zones: tuple[str, ...] = ()
    _zone: Zone | None = None

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: Report) -> "ProxyFront":  # noqa: ARG003
        if not isinstance(launched, socket.socket):
            raise TypeError("mode proxy begins with a listening socket")
        undo.callback(launched.close)
        return cls(launched, await asyncio.to_thread(login_where_needed))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def name(self) -> str:
        return f"the proxy on {LOOPBACK}:{self.port}"

    @property
    def name_servers(self) -> list[Network]:
        """There are none to keep from being routed, for nothing is."""
        return []

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus:
        """Where a proxy of the user's leads to the API server, kubectl is not told to go there directly."""
        pac = f"http://{LOOPBACK}:{self.port}/proxy.pac"
        self._proxied = server if server.proxy else None
        return ProxyStatus(self.port, pac, environment(self.port, self.login, [] if server.proxy else [server.host]))

    def refuse_overlaps(self, ranges: "Sequence[RoutedRange]", allowed: Sequence[Network]) -> None:
        """No local network is in the way: only what is asked of the proxy goes to the cluster."""

    async def keep_outside(self, addresses: Sequence[Address]) -> None:
        """The way to the API server is not the proxy's."""

    async def put_right(self, ranges: "Sequence[RoutedRange]", allowed: Sequence[Network]) -> list[str]:  # noqa: ARG002
        """Nobody takes anything away from a port that is open."""
        return []

    async def wait_routes_changed(self) -> None:
        """The proxy is not concerned: it has no routes."""
        await asyncio.Event().wait()

    async def route(self, networks: Sequence[Network]) -> None:
        self.networks += networks

    async def start_pump(
        self,
        uplink: Uplink[AgentHello],  # noqa: ARG002 - a dial waits by itself
        datagrams: DatagramLink | None,
        undo: AsyncExitStack,
        *,
        dial: "Dial",
    ) -> ProxyServer:
        dialler = Dialler(self.names, dial, self.networks, self._proxied)
        server = ProxyServer(self.listener, dialler, self.login, self._pac, datagrams=datagrams)
        undo.push_async_callback(server.aclose)
        return server

    def _pac(self) -> str:
        namespaces = self._zone.namespaces() if self._zone else ()
        return pac_file(self.port, self._zones, namespaces, self.networks)

    async def serve_names(
        self,
        zone: Zone,
        uplink: Uplink[AgentHello],
        hello: AgentHello,
        namespace: str,
        *,
        extra_zones: Sequence[str],
        routed: Sequence[Network],  # noqa: ARG002 - no names of addresses are asked of a proxy
        work: asyncio.TaskGroup,  # noqa: ARG002
        counters: CounterReaders,
        on_alias: OnAlias,  # noqa: ARG002 - what a name of the cluster leads to is reached through the cluster anyway
    ) -> tuple[DnsStatus, AsyncIterator[str]]:
        """Resolve names for the proxy's clients from now on."""
        self._zone, domain = zone, cluster_domain_in(hello.search)
        zone.cluster_domain = domain
        self._zones = ("svc", domain, *sorted(normalised(extra_zones)))
        dial = partial(uplink.create_connection, within_s=LINK_WITHIN_S)
        to_cluster = StreamClient(dial, [(server, DNS_PORT) for server in hello.nameservers])
        inside = Forwarder(to_cluster)
        search = search_path(domain, namespace)
        resolver = SplitResolver(zone, cluster=inside, search=search)
        counters["dns"] = lambda: (
            numbers(resolver.counters)
            | {
                "cluster_cache_hits": inside.cache_hits,
                "cluster_exchanges": inside.exchanges,
            }
        )
        self.names.set_result(Names(ClusterLookup(resolver, search)))
        return DnsStatus(domain, LOOPBACK, "the proxy", search), _until_end(to_cluster)

    async def until_helper_gone(self) -> None:
        """There is no helper."""


async def _until_end(to_cluster: StreamClient) -> AsyncIterator[str]:
    """Nobody changes how the proxy resolves. The connection to the cluster's DNS ends with the session."""
    try:
        await asyncio.Event().wait()
        yield ""
    finally:
        to_cluster.close()
