"""What `connect` routes: the ranges that are known at its start, and what comes later outside them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ktpy.aio.task_group import task_group
from ktpy.capture.spec import Front
from ktpy.cluster.routing.range_watch import new_endpoints, new_pods, new_services
from ktpy.cluster.routing.ranges import (
    RoutedRange,
    discover,
    hand_made_addresses,
    leave_out,
    refuse_overlaps,
    routed_too,
)
from ktpy.cluster.routing.stand_in_pool import StandInPool
from ktpy.errors import HelperFailed, RangeOverlap
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.observe.events import Notice, Report
from ktpy.observe.status import RangeStatus
from ktpy.observe.trace import stage
from ktpy.sessions.options import TRANSLATE, ConnectOptions

if TYPE_CHECKING:
    from ktpy.cluster.routing.networks import Address, Network
    from ktpy.wire.session import AgentHello

STANDING_IN = (
    "A local network has addresses of the cluster's, and keeps them; the cluster's are others on this laptop, where"
    " its names lead: {}{}."
)
TOLD_RANGES = 4


class Routing:
    """Routing chooses the ranges of one session and has its machine route them."""

    def __init__(self, options: ConnectOptions, report: Report, step: Callable[[str, str], None]) -> None:
        self._options, self._report, self._step = options, report, step
        self._behind_names: asyncio.Queue[list[Address]] = asyncio.Queue()
        self.routed: list[RoutedRange] = []
        """All that is routed so far."""
        self._is_chosen = asyncio.Event()
        self._pool: StandInPool | None = None
        """None where what overlaps is refused."""

    @property
    def ranges(self) -> tuple[RangeStatus, ...]:
        return tuple(
            RangeStatus(str(one.network), one.kind, one.source, str(one.stand_in) if one.stand_in else None)
            for one in self.routed
        )

    def take_slice(self, endpoint_slice: Json) -> None:
        if addresses := hand_made_addresses(endpoint_slice):
            self._behind_names.put_nowait(addresses)

    async def route_alias(self, addresses: "list[Address]") -> None:
        """Route private addresses that an ExternalName leads to, as those in slices; return when that is done."""
        if private := [address for address in addresses if not address.is_global]:
            self._behind_names.put_nowait(private)
            await self._behind_names.join()

    @stage
    async def choose_ranges(self, api: Api, preparing: asyncio.Task[Front]) -> list[RoutedRange]:
        options = self._options
        async with task_group() as tasks:
            locating = tasks.create_task(api.addresses(), name="resolve the API server")
            found = await discover(api, include=options.include, exclude=options.exclude, pods=options.pods)
        machine = await preparing
        await machine.keep_outside(locating.result())
        if options.on_overlap == TRANSLATE:
            outside = [*map(ip_network, locating.result()), *machine.name_servers]
            taken = [*outside, *(one.network for one in found), *(one.network for one in machine.local_networks)]
            self._pool = StandInPool(options.translate_to, taken, machine.stand_ins)
        placed = self._placed(machine, found)
        if translated := [str(one) for one in placed if one.stand_in]:
            more = f" and {len(translated) - TOLD_RANGES} more" if len(translated) > TOLD_RANGES else ""
            self._report(Notice(STANDING_IN.format(", ".join(translated[:TOLD_RANGES]), more)))
        return placed

    def _placed(self, machine: Front, ranges: list[RoutedRange]) -> list[RoutedRange]:
        """Return the ranges as this machine may route them. Raises RangeOverlap."""
        ranges = self._translated(machine, ranges)
        direct = leave_out([one for one in ranges if not one.stand_in], machine.name_servers)
        placed = [*direct, *(one for one in ranges if one.stand_in)]
        refuse_overlaps(placed, machine.local_networks, self._options.include)
        return placed

    def _translated(self, machine: Front, ranges: list[RoutedRange]) -> list[RoutedRange]:
        """Return the ranges, with stand-ins for those that overlap where that is wanted. Raises RangeOverlap."""
        if self._pool is None:
            return ranges
        return self._pool.translated(ranges, machine.local_networks, self._options.include)

    @stage
    async def route_chosen(self, machine: Front, hello: "AgentHello", chosen: list[RoutedRange]) -> list[RoutedRange]:
        """Route what was found, and the pod's own name servers; return all that is routed."""
        name_servers = map(ip_address, hello.nameservers)
        exclude = self._excluded(machine)
        too = routed_too(name_servers, chosen, exclude=exclude, source="a pod's resolver")
        routed = chosen + self._translated(machine, too)
        await self._route(machine, routed)
        self._is_chosen.set()
        names = ", ".join(map(str, routed))
        self._step("routes", f"{names or 'none'} by {machine.name}")
        return routed

    def follow(self, api: Api, machine: Front, routed: list[RoutedRange], work: asyncio.TaskGroup) -> None:
        """Route pods and Services outside the known ranges as they come."""
        exclude = self._excluded(machine)
        if self._options.pods:
            new = new_pods(api, routed, exclude=exclude)
            work.create_task(self._route_newcomers(machine, new), name="route new pods")
        new = new_endpoints(api, routed, self._behind_names, exclude=exclude)
        work.create_task(self._route_newcomers(machine, new), name="route new endpoints")
        new = new_services(api, routed, exclude=exclude)
        work.create_task(self._route_newcomers(machine, new), name="route new services")

    async def network_of(self, address: str) -> str | None:
        """Return the routed range that has the address, once they are routed; None where there is none, for a name, and
        where ktpy's own connections take no such route."""
        if self._options.capture.mode != "tun":
            return None
        await self._is_chosen.wait()
        with suppress(ValueError):
            wanted = ip_address(address)
            return next((str(one.routed) for one in self.routed if wanted in one.routed), None)
        return None

    def _excluded(self, machine: Front) -> "list[Network]":
        return [*self._options.exclude, *machine.name_servers]

    async def _route(self, machine: Front, ranges: list[RoutedRange]) -> None:
        await machine.route([entry.routed for entry in ranges])
        self.routed += ranges

    async def _route_newcomers(self, machine: Front, newcomers: AsyncIterator[list[RoutedRange]]) -> None:
        async for ranges in newcomers:
            try:
                await self._route(machine, self._placed(machine, ranges))
            except (RangeOverlap, HelperFailed) as refused:
                self._report(Notice(f"{refused.message} It is not routed."))
