"""Finds ranges of Pods and Services that come while a session lasts, after the first discovery.

Where nodes say which range their pods get, only a new node brings a new range, and nodes are watched. Where they do
not (network plugins with a pool of their own), every pod that comes is an address of its own, and pods are watched.
A service range is known for good, or else, for users with few rights, put together from the Services they see.
"""

from asyncio import Queue
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from ipaddress import ip_network

from ktpy.cluster.routing.networks import Address, Network, subtract
from ktpy.cluster.routing.ranges import FOR_GOOD, OF_NODES, RoutedRange, pod_addresses, pod_cidrs, service_addresses
from ktpy.errors import Forbidden
from ktpy.helper.routable import NEVER_ROUTED
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import NODES, PODS, SERVICES, Resource
from ktpy.kube.watch import Upsert, watch

BEHIND_NAMES = "a hand-made EndpointSlice, or an ExternalName"


async def new_pods(
    api: Api, routed: Sequence[RoutedRange], *, exclude: Sequence[Network] = ()
) -> AsyncGenerator[list[RoutedRange], None]:
    """Yield new ranges of pods that are not routed yet. It ends where nothing may be watched."""
    follows_nodes = any(entry.source == OF_NODES for entry in routed)
    feed = _node_ranges(api) if follows_nodes else _addresses(api, PODS, pod_addresses, fields="status.phase=Running")
    source = OF_NODES if follows_nodes else "a new pod"
    async with aclosing(_fresh(api, feed, routed, exclude)) as found:
        async for networks in found:
            yield [RoutedRange(network, "pods", source) for network in networks]


async def new_services(
    api: Api, routed: Sequence[RoutedRange], *, exclude: Sequence[Network] = ()
) -> AsyncGenerator[list[RoutedRange], None]:
    """Yield the same for Services. It ends at once where their range is known for good."""
    if any(entry.kind == "services" and entry.source in FOR_GOOD for entry in routed):
        return
    async with aclosing(_fresh(api, _addresses(api, SERVICES, service_addresses), routed, exclude)) as found:
        async for networks in found:
            yield [RoutedRange(network, "services", "a new Service") for network in networks]


async def new_endpoints(
    api: Api, routed: Sequence[RoutedRange], addresses: Queue[list[Address]], *, exclude: Sequence[Network] = ()
) -> AsyncGenerator[list[RoutedRange], None]:
    """Yield the same for the queued addresses, which somebody put behind names of the cluster.

    An entry of the queue is done once what was yielded of it has been dealt with.
    """

    async def feed() -> AsyncGenerator[list[Network], None]:
        while True:
            yield list(map(ip_network, await addresses.get()))
            addresses.task_done()

    async with aclosing(_fresh(api, feed(), routed, exclude)) as found:
        async for networks in found:
            yield [RoutedRange(network, "services", BEHIND_NAMES) for network in networks]


async def _fresh(
    api: Api, feed: AsyncGenerator[list[Network], None], routed: Sequence[RoutedRange], exclude: Sequence[Network]
) -> AsyncGenerator[list[Network], None]:
    """Yield what of the feed is not routed yet, and may be."""
    holes = [*exclude, *NEVER_ROUTED, *map(ip_network, await api.addresses())]
    known = [entry.network for entry in routed]
    async with aclosing(feed):
        async for networks in feed:
            if fresh := subtract(networks, [*holes, *known]):
                known += fresh
                yield fresh


async def _node_ranges(api: Api) -> AsyncGenerator[list[Network], None]:
    try:
        async for event in watch(api, NODES.path(), is_patient=True):
            if isinstance(event, Upsert):
                yield [ip_network(cidr) for cidr in pod_cidrs(event.obj)]
    except Forbidden:
        return


async def _addresses(
    api: Api, resource: Resource, addresses_of: Callable[[Json], list[Address]], *, fields: str = ""
) -> AsyncGenerator[list[Network], None]:
    for path in (resource.path(), resource.path(api.namespace)):
        try:
            async for event in watch(api, path, fields=fields, is_patient=True):
                if isinstance(event, Upsert):
                    yield [ip_network(address) for address in addresses_of(event.obj)]
        except Forbidden:
            continue
