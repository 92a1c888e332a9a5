"""Pods come and go while a session lasts: ranges that the first discovery could not know of.

Where nodes say which range their pods get, only a new node brings a new range, and nodes are watched. Where they do
not (network plugins with a pool of their own), every pod that comes is an address of its own, and pods are watched.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from ipaddress import ip_network

from ktpy.cluster.client import Api
from ktpy.cluster.networks import NEVER_ROUTED, Network, single, subtract
from ktpy.cluster.ranges import OF_NODES, RoutedRange, pod_addresses, pod_cidrs
from ktpy.cluster.watch import Upsert, watch
from ktpy.errors import Forbidden


async def newcomers(
    api: Api, routed: Sequence[RoutedRange], *, exclude: Sequence[Network] = ()
) -> AsyncGenerator[list[RoutedRange], None]:
    """Ranges that come to belong to pods and are not routed yet, as they come. Ends where nothing may be watched."""
    holes = [*exclude, *NEVER_ROUTED, *map(single, await api.addresses())]
    known = [entry.network for entry in routed]
    follows_nodes = any(entry.source == OF_NODES for entry in routed)
    source = OF_NODES if follows_nodes else "a new pod"
    async with aclosing(_node_ranges(api) if follows_nodes else _pod_ranges(api)) as found:
        async for networks in found:
            fresh = subtract(networks, [*holes, *known])
            if fresh:
                known += fresh
                yield [RoutedRange(network, "pods", source) for network in fresh]


async def _node_ranges(api: Api) -> AsyncGenerator[list[Network], None]:
    try:
        async for event in watch(api, "/api/v1/nodes"):
            if isinstance(event, Upsert):
                yield [ip_network(cidr) for cidr in pod_cidrs(event.obj)]
    except Forbidden:
        return


async def _pod_ranges(api: Api) -> AsyncGenerator[list[Network], None]:
    for path in ("/api/v1/pods", f"/api/v1/namespaces/{api.namespace}/pods"):
        try:
            async for event in watch(api, path, fields="status.phase=Running"):
                if isinstance(event, Upsert):
                    yield [single(address) for address in pod_addresses(event.obj)]
        except Forbidden:
            continue
