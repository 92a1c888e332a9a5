"""The front of mode `tun`: a TUN device, routes and the resolver, by way of the helper."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network

from ktpy.capture.spec import LINK_WITHIN_S, Launched
from ktpy.capture.tun.pump import Pump
from ktpy.capture.tun.relay import Dial, TunAddress
from ktpy.capture.tun.resolver_keeper import RESOLV_CONF, keep_resolver
from ktpy.capture.tun.route_changes import RouteChanges
from ktpy.cluster.routing.networks import Address, Network, outranking, overlaps
from ktpy.cluster.routing.ranges import RoutedRange, refuse_overlaps
from ktpy.dns.clients import LocalClients
from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import OnAlias, SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import SYSTEMD_RESOLVED, cluster_domain_in, resolver_request, server_address
from ktpy.dns.upstream import Upstream
from ktpy.dns.zone import Zone
from ktpy.errors import HelperFailed, KtpyError, RangeOverlap
from ktpy.helper import journal as journals
from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.launch import WITHOUT_A_PASSWORD, launch
from ktpy.helper.protocol import LocalNetwork, SetResolver
from ktpy.helper.protocol import Resolver as MachineResolver
from ktpy.helper.replay import describe
from ktpy.helper.resolv_conf import asked_by
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import Uplink
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Notice, Report
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.packet.stand_ins import StandIns
from ktpy.wire.session import AgentHello

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class TunFront:
    """A TunFront is ready before anything is known of the cluster."""

    helper: HelperClient
    tun: Tun
    local_networks: tuple[LocalNetwork, ...]
    resolver: MachineResolver
    changes: RouteChanges
    report: Report
    stand_ins: StandIns = field(default_factory=StandIns)

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: Report) -> "TunFront":
        """Undo what a killed run left, look around, make the TUN. Nothing is routed into it yet."""

        async def undo_all() -> None:
            undone = await helper.close()
            if undone is None:
                await _undo_for_dead_helper(report)
            elif undone.left or undone.failures:
                report(Notice(describe(undone, "Undoing")))

        if isinstance(launched, socket.socket | tuple):
            raise TypeError("mode tun begins with the helper")
        helper = await HelperClient.start(launched)
        undo.push_async_callback(undo_all)
        if helper.hello.remark is not None:
            report(Notice(helper.hello.remark))
        for journal in await helper.recover():
            report(Notice(describe(journal, "An earlier ktpy was killed")))
        networks = await helper.local_networks()
        resolver = await helper.detect_resolver()
        tun = await helper.open_tun()
        undo.callback(tun.close)
        changes = RouteChanges(tun.opened.interface_index)
        undo.callback(changes.close)
        return cls(helper, tun, networks, resolver, changes, report)

    @property
    def name(self) -> str:
        """The TUN's name."""
        return self.tun.opened.name

    @property
    def name_servers(self) -> list[Network]:
        """The machine's own name servers, each a range of one. They are never routed."""
        found: list[Network] = []
        for text in self.resolver.nameservers:
            with suppress(ValueError):  # glibc skips what is no address
                found.append(ip_network(text.partition("%")[0]))
        return found

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus | None:  # noqa: ARG002 - there is no proxy
        return None

    async def keep_outside(self, addresses: Sequence[Address]) -> None:
        """Never route these: by them the API server is reached."""
        await self.helper.keep_outside(addresses)

    async def route(self, networks: Sequence[Network]) -> None:
        """Route these into the TUN, before any route to the same network that the machine has already."""
        if networks:  # else there is nothing to route: all is excluded, or the user may see nothing
            await self.helper.add_routes(outranking(networks, (local.network for local in self.local_networks)))

    async def put_right(self, ranges: Sequence[RoutedRange], allowed: Sequence[Network]) -> list[str]:
        """Restore what others have taken away of the routes; return what the user should know.

        The resolver is watched all the time, see `keep_resolver`.
        """
        told = []
        if vanished := await self.helper.restore_routes():
            told.append(f"Routes into {self.name} had vanished, and are back: {', '.join(map(str, vanished))}.")
        new = set(await self.helper.local_networks()).difference(self.local_networks)
        lost = {
            overlap.local: f"{overlap.local.network}, a part of the cluster's {overlap.network}, leads to"
            f" {overlap.local.interface} since its route was added: the narrower one counts."
            for overlap in overlaps((one.routed for one in ranges), new)
            if overlap.local.network.prefixlen > overlap.network.prefixlen
        }
        try:
            refuse_overlaps(ranges, new.difference(lost), allowed)
        except RangeOverlap as overlap:
            told.append(f"{overlap.message} It stays routed into the cluster.")
        return told + [lost[local] for local in sorted(lost, key=lambda local: (local.interface, str(local.network)))]

    async def wait_routes_changed(self) -> None:
        """Wait until somebody else has changed the machine's routes."""
        await self.changes.wait()

    async def start_pump(
        self, uplink: Uplink[AgentHello], datagrams: DatagramLink | None, undo: AsyncExitStack, *, dial: Dial
    ) -> Pump:
        opened = self.tun.opened
        pairs = ((opened.address4, opened.peer4), (opened.address6, opened.peer6))
        addresses = [TunAddress(str(own.ip), str(peer)) for own, peer in pairs if own and peer]
        pump = await Pump.start(
            self.tun.descriptor,
            addresses,
            dial,
            way=datagrams,
            on_udp=self._tell_of_udp,
            until_up=uplink.wait_up,
            stand_ins=self.stand_ins,
            flow_map=self.tun.flow_map,
        )
        undo.push_async_callback(pump.aclose)
        return pump

    def _tell_of_udp(self, address: bytes, port: int) -> None:
        self.report(Notice(f"UDP is not carried: what programs send to {ip_address(address)} port {port} is refused."))

    async def serve_names(
        self,
        zone: Zone,
        uplink: Uplink[AgentHello],
        hello: AgentHello,
        namespace: str,
        *,
        extra_zones: Sequence[str],
        routed: Sequence[Network],
        work: asyncio.TaskGroup,
        counters: CounterReaders,
        on_alias: OnAlias,
    ) -> tuple[DnsStatus, AsyncIterator[str]]:
        """Answer names in `work` and make the machine ask here; return how it is set up, and `keep_resolver`.

        Names are answered on the TUN's address whatever the machine asks: containers cannot reach our loopback.
        """
        machine, opened = self.resolver, self.tun.opened
        zone.set_domain(cluster_domain_in(hello.search))
        zone.set_routed(routed)
        request_to = partial(
            resolver_request,
            cluster_domain=zone.cluster_domain,
            namespace=namespace,
            extra_zones=extra_zones,
            routed=routed,
            is_known_as=zone.known_as is not None,
        )
        dial = partial(uplink.create_connection, within_s=LINK_WITHIN_S)
        to_cluster = StreamClient(dial, [(server, DNS_PORT) for server in hello.nameservers])
        kinds = (SYSTEMD_RESOLVED, machine.kind, "resolv.conf")
        addresses = {kind: server_address(kind, opened.number, opened.address4.ip) for kind in kinds}
        own_addresses = list(map(str, addresses.values()))
        upstream = Upstream(asked_by(machine.nameservers, ()), own_addresses=own_addresses)
        outside, inside = Forwarder(upstream), Forwarder(to_cluster)
        search = request_to(addresses[machine.kind]).search
        resolver = SplitResolver(zone, upstream=outside, cluster=inside, search=search, on_alias=on_alias)
        bound = await self.helper.bind_dns([addresses[machine.kind]])
        for address in {*addresses.values()} - {addresses[machine.kind]}:
            with suppress(HelperFailed):  # another name server may take each new address (dnsmasq's bind-dynamic)
                bound += await self.helper.bind_dns([address])
        server = Server(
            resolver, [own.udp for own in bound], [own.tcp for own in bound], is_client=LocalClients().includes
        )

        def use(nameservers: Sequence[str]) -> None:
            nonlocal upstream
            following = Upstream(asked_by(nameservers, own_addresses), own_addresses=own_addresses)
            if following.servers in ((), upstream.servers):
                return
            upstream.close()
            upstream = following
            outside.replace_exchange(upstream)

        def request_for(kind: str) -> SetResolver:
            return request_to(addresses[kind])

        async def set_resolver(request: SetResolver) -> None:
            await self.helper.set_resolver(
                request.nameservers,
                search=request.search,
                routing_domains=request.routing_domains,
                cluster_domain=request.cluster_domain,
            )

        async def serve() -> None:
            try:
                await server.serve()
            finally:
                upstream.close()
                to_cluster.close()

        work.create_task(serve(), name="name server")
        counters["dns"] = lambda: dns_numbers(resolver, server, upstream=outside, cluster=inside)
        request = request_for(machine.kind)
        target = RESOLV_CONF.resolve() if RESOLV_CONF.is_symlink() else None
        await set_resolver(request)
        told = DnsStatus(zone.cluster_domain, str(addresses[machine.kind]), machine.kind, tuple(request.search))
        return told, keep_resolver(self.helper.detect_resolver, request_for, set_resolver, use, target=target)

    async def until_helper_gone(self) -> None:
        """Raise HelperFailed when the helper dies."""
        await self.helper.wait_closed()
        raise HelperFailed(
            "The privileged helper died, so ktpy ended the session.",
            hint="`sudo ktpy clean` (or the next `ktpy connect`) undoes what the helper could not.",
        )


def dns_numbers(resolver: SplitResolver, server: Server, *, upstream: Forwarder, cluster: Forwarder) -> dict[str, int]:
    own = numbers(resolver.counters) | {"overloaded": server.overloaded}
    return own | cluster.counts("cluster") | upstream.counts("upstream")


async def _undo_for_dead_helper(report: Report) -> None:
    """Have another helper replay the journal if that needs no password; else say what is left."""
    left = [summary for stale in journals.stale() for summary in stale.left]
    if not left:
        return
    try:
        async with await HelperClient.start(launch(() if os.geteuid() == 0 else WITHOUT_A_PASSWORD)) as another:
            for undone in await another.recover():
                report(Notice(describe(undone, "In place of the dead helper")))
    except KtpyError:
        report(Notice(f"Still there: {', '.join(left)}. `sudo ktpy clean` undoes it."))
