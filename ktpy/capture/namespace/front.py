"""The front of mode `namespace`: a network for one program, by way of a helper without root."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ktpy.capture.namespace.datagrams import DatagramExits
from ktpy.capture.namespace.exits import HOST, HOST_NAME, Exits
from ktpy.capture.namespace.inside import Inside
from ktpy.capture.namespace.resolvers import RESOLV_CONF, LaptopResolvers, read
from ktpy.capture.spec import LINK_WITHIN_S, Launched
from ktpy.capture.tun.front import DNS_PORT, dns_numbers
from ktpy.capture.tun.pump import Pump
from ktpy.capture.tun.relay import Dial, TunAddress
from ktpy.cluster.routing.networks import Address, Network
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import OnAlias, SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import cluster_domain_in, search_path
from ktpy.dns.zone import Zone
from ktpy.errors import HelperFailed
from ktpy.helper.private.client import PrivateHelperClient, PrivateNetwork
from ktpy.helper.private.messages import File
from ktpy.helper.processes import end_all_in_network
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.resolv_conf import render_private
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import Uplink
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Report
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.packet.stand_ins import StandIns
from ktpy.wire.session import AgentHello

HOSTS = Path("/etc/hosts")
LOCALHOST = "127.0.0.1 localhost\n::1 localhost\n"
"""What the program reads where the laptop has no such file."""
POLL_S = 0.5


@dataclass(slots=True)
class NamespaceFront:
    """A NamespaceFront takes all that its program sends, and so no range is in anybody's way."""

    helper: PrivateHelperClient
    network: PrivateNetwork
    exits: Exits
    inside: Inside
    datagrams: DatagramExits | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """Addresses and names for the program's /etc/hosts, beside the laptop's own."""
    local_networks: tuple[LocalNetwork, ...] = ()
    """None is in the way: the program reaches the cluster's, and all others the laptop's."""
    stand_ins: StandIns = field(default_factory=StandIns)

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: Report) -> "NamespaceFront":  # noqa: ARG003
        """Make the network. Raises NamespacesForbidden, TunUnavailable and HelperFailed."""
        if isinstance(launched, socket.socket | tuple):
            raise TypeError("mode namespace begins with the helper")
        helper = await PrivateHelperClient.start(launched)
        undo.push_async_callback(helper.close)
        network = await helper.make_network()
        undo.callback(network.close)
        inode = os.fstat(network.namespaces[1]).st_ino

        async def end_all_for_dead_helper() -> None:
            if helper.is_gone:
                await asyncio.to_thread(end_all_in_network, inode)

        undo.push_async_callback(end_all_for_dead_helper)
        inside = Inside(helper, network)
        undo.callback(inside.close)
        return cls(helper, network, Exits(_not_yet), inside)

    @property
    def name(self) -> str:
        return "the program's own network"

    @property
    def name_servers(self) -> list[Network]:
        """There are none to keep from being routed: the laptop asks them, not the program."""
        return []

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus | None:  # noqa: ARG002 - there is no proxy
        return None

    async def keep_outside(self, addresses: Sequence[Address]) -> None:
        """The way to the API server is not the program's."""

    async def put_right(self, ranges: Sequence[RoutedRange], allowed: Sequence[Network]) -> list[str]:  # noqa: ARG002
        """Nobody else changes the program's routes."""
        return []

    async def wait_routes_changed(self) -> None:
        await asyncio.Event().wait()

    async def route(self, networks: Sequence[Network]) -> None:
        """Dial these from the pod from now on."""
        self.exits.networks += networks
        if self.datagrams is not None:
            self.datagrams.learn()

    async def start_pump(
        self,
        uplink: Uplink[AgentHello],  # noqa: ARG002 - a dial waits by itself
        datagrams: DatagramLink | None,
        undo: AsyncExitStack,
        *,
        dial: Dial,
    ) -> Pump:
        made = self.network.made
        pairs = ((made.address4, made.peer4), (made.address6, made.peer6))
        addresses = [TunAddress(str(own.ip), str(peer)) for own, peer in pairs if own and peer]
        self.exits.from_pod = dial
        self.datagrams = DatagramExits(datagrams, self.exits.is_inside)
        undo.callback(self.datagrams.close)
        acceptors = self.network.acceptors
        pump = await Pump.start(self.network.tun, addresses, self.exits.dial, way=self.datagrams, acceptors=acceptors)
        self.datagrams.deliver = pump.deliver
        undo.push_async_callback(pump.aclose)
        return pump

    async def serve_names(
        self,
        zone: Zone,
        uplink: Uplink[AgentHello],
        hello: AgentHello,
        namespace: str,
        *,
        extra_zones: Sequence[str],  # noqa: ARG002 - the zone knows them
        routed: Sequence[Network],
        work: asyncio.TaskGroup,
        counters: CounterReaders,
        on_alias: OnAlias,
    ) -> tuple[DnsStatus, AsyncIterator[str]]:
        """Answer the program's names in `work`, and let it see that in its /etc."""
        zone.set_domain(domain := cluster_domain_in(hello.search))
        zone.set_routed(routed)
        zone.own_names[HOST_NAME] = HOST.packed  # for programs that ask DNS past /etc/hosts
        dial = partial(uplink.create_connection, within_s=LINK_WITHIN_S)
        to_cluster = StreamClient(dial, [(server, DNS_PORT) for server in hello.nameservers])
        laptop = LaptopResolvers()
        outside, inside = Forwarder(laptop), Forwarder(to_cluster)
        search = search_path(domain, namespace)
        resolver = SplitResolver(zone, upstream=outside, cluster=inside, search=search, on_alias=on_alias)
        server = Server(resolver, [self.network.dns_udp], [self.network.dns_tcp])

        async def serve() -> None:
            try:
                await server.serve()
            finally:
                laptop.close()
                to_cluster.close()

        work.create_task(serve(), name="name server")
        counters["dns"] = lambda: dns_numbers(resolver, server, upstream=outside, cluster=inside)
        counters["exits"] = lambda: numbers(self.exits.counters)
        await self.helper.put_files(self._files(search))
        return DnsStatus(domain, str(self.network.made.dns), "the program", search), self._keep_files(search)

    def _files(self, search: tuple[str, ...]) -> list[File]:
        resolv_conf = render_private(read(), self.network.made.dns, search, socket.gethostname())
        return [File(str(RESOLV_CONF), resolv_conf), self._hosts()]

    async def _keep_files(self, search: tuple[str, ...]) -> AsyncIterator[str]:
        """Put the files again whenever the laptop's own are changed or replaced; nobody need be told."""
        before = _stamps()
        while True:
            await asyncio.sleep(POLL_S)
            if (now := _stamps()) != before:
                before = now
                try:
                    await self.helper.put_files(self._files(search))
                except (HelperFailed, OSError) as error:  # the next change is another try
                    yield f"Names of the cluster may not resolve in the program: {error}"

    def _hosts(self) -> File:
        names = {str(HOST): HOST_NAME, **self.names}
        laptops = HOSTS.read_text(errors="surrogateescape") if HOSTS.exists() else LOCALHOST
        lines = [laptops, *(f"{address} {name}" for address, name in names.items())]
        hosts = "\n".join([*lines, ""]).encode(errors="surrogateescape")
        return File(str(HOSTS), hosts)

    async def take_name(self, host_name: str, address: str) -> None:
        """Give the program a host name, which stands for an address in its /etc/hosts. Raises HelperFailed."""
        self.names = {**self.names, address: host_name}
        await self.helper.put_files([self._hosts()], host_name)

    async def until_helper_gone(self) -> None:
        """Raise HelperFailed when the helper dies."""
        await self.helper.wait_closed()
        raise HelperFailed("The helper that holds the program's network died, so ktpy ended the program.")


async def _not_yet(*_: object) -> tuple[asyncio.Transport, asyncio.Protocol]:
    raise ConnectionRefusedError("the link to the cluster does not stand yet")


def _stamps() -> list[tuple[int, int]]:
    """What changes when one of the laptop's files does."""
    found = []
    for path in (RESOLV_CONF, HOSTS):
        with suppress(OSError):
            status = path.stat()
            found.append((status.st_ino, status.st_mtime_ns))
    return found
