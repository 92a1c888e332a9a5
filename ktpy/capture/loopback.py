"""What fronts have in common whose programs come to ports of the loopback. Nothing on the laptop is changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ktpy.capture.spec import LINK_WITHIN_S, LOOPBACK
from ktpy.cluster.routing.networks import Address, Network
from ktpy.dns.forward import Forwarder
from ktpy.dns.lookup import ClusterLookup
from ktpy.dns.resolver import OnAlias, SplitResolver
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import cluster_domain_in, search_path
from ktpy.dns.zone import Zone
from ktpy.helper.protocol import LocalNetwork
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link.uplink import Uplink
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.packet.stand_ins import StandIns
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.cluster.routing.ranges import RoutedRange

DNS_PORT: Final = 53


class LoopbackFront:
    """A LoopbackFront is ready before anything is known of the cluster, whose names are known by `lookup`."""

    resolver_name = "ktpy"
    """What is said to resolve names."""
    local_networks: Sequence[LocalNetwork] = ()
    """None is in the way: only what comes to a port goes to the cluster."""
    stand_ins = StandIns()

    def __init__(self) -> None:
        self.networks: list[Network] = []
        self.zone: Zone | None = None
        self.lookup: asyncio.Future[ClusterLookup] = asyncio.get_running_loop().create_future()

    @property
    def name_servers(self) -> list[Network]:
        """There are none to keep from being routed, for nothing is."""
        return []

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus | None:  # noqa: ARG002 - a proxy's
        return None

    async def keep_outside(self, addresses: Sequence[Address]) -> None:
        """The way to the API server is not a port's."""

    async def put_right(self, ranges: "Sequence[RoutedRange]", allowed: Sequence[Network]) -> list[str]:  # noqa: ARG002
        """Nobody takes anything away from a port that is open."""
        return []

    async def wait_routes_changed(self) -> None:
        """A port is not concerned: it has no routes."""
        await asyncio.Event().wait()

    async def route(self, networks: Sequence[Network]) -> None:
        self.networks += networks

    async def serve_names(
        self,
        zone: Zone,
        uplink: Uplink[AgentHello],
        hello: AgentHello,
        namespace: str,
        *,
        extra_zones: Sequence[str],  # noqa: ARG002
        routed: Sequence[Network],  # noqa: ARG002 - no names of addresses are asked for
        work: asyncio.TaskGroup,  # noqa: ARG002
        counters: CounterReaders,
        on_alias: OnAlias,  # noqa: ARG002 - what a name of the cluster leads to is reached through the cluster anyway
    ) -> tuple[DnsStatus, AsyncIterator[str]]:
        """Resolve names for who comes to a port from now on."""
        self.zone, domain = zone, cluster_domain_in(hello.search)
        zone.set_domain(domain)
        dial = partial(uplink.create_connection, within_s=LINK_WITHIN_S)
        to_cluster = StreamClient(dial, [(server, DNS_PORT) for server in hello.nameservers])
        inside = Forwarder(to_cluster)
        search = search_path(domain, namespace)
        resolver = SplitResolver(zone, cluster=inside, search=search)
        counters["dns"] = lambda: numbers(resolver.counters) | inside.counts("cluster")
        self.lookup.set_result(ClusterLookup(resolver, search))
        return DnsStatus(domain, LOOPBACK, self.resolver_name, search), _until_end(to_cluster)

    async def until_helper_gone(self) -> None:
        """There is no helper."""


async def _until_end(to_cluster: StreamClient) -> AsyncIterator[str]:
    """Nobody changes how a port's names resolve. The connection to the cluster's DNS ends with the session."""
    try:
        await asyncio.Event().wait()
        yield ""
    finally:
        to_cluster.close()
