"""Finds the addresses that belong to the cluster, and chooses those that ktpy routes into it.

Each kind of range has several sources, from the best to the last resort; the next is asked when the one before does
not exist (older clusters) or is forbidden (fewer rights). Nothing is guessed wider than a source says.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from ktpy.aio.task_group import task_group
from ktpy.cluster.routing.networks import (
    Address,
    Network,
    Overlap,
    aggregate,
    covering,
    enclosing,
    is_covered,
    overlaps,
    subtract,
)
from ktpy.errors import ApiRefused, Forbidden, NamespaceAbsent, RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.routable import NEVER_ROUTED, is_default_route
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, endpoints_of, labels_of, metadata_of, spec_of, status_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import NODES, PODS, SERVICE_CIDRS, SERVICES, Resource
from ktpy.kube.watch import PAGE_LIMIT, list_all

# They lie in blocks set aside for documentation (RFC 5737, RFC 3849), so in no cluster's service range.
_OUTSIDE = ("192.0.2.1", "2001:db8::1")
_VALID_IPS = re.compile(r"valid IPs is ([0-9a-fA-F.:]+/[0-9]+)")
OF_NODES = "the nodes' podCIDRs"
BY_SERVICE_CIDR = "the ServiceCIDR API"
BY_API_SERVER = "the API server's answer to an invalid Service"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
ENDPOINT_SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
FOR_GOOD = frozenset({OF_NODES, BY_SERVICE_CIDR, BY_API_SERVER})
"""The ranges of these sources hold for what is yet to come, too."""
_WIDEST_SERVICE_RANGE = {4: 12, 6: 108}
"""The API server's own limit for --service-cluster-ip-range: 20 bits (k8s.io/kubernetes/cmd/kube-apiserver)."""
KEEP_BOTH = "Reach both: `ktpy connect --on-overlap translate` gives the cluster's other addresses on this laptop."
NO_ROUTES = "Or do without routes: `ktpy run` for one program, or `ktpy connect --mode proxy`."
KTPY_LINK = "ktpy"
"""The names of ktpy's TUN devices begin like this, and go on with a number."""


@dataclass(frozen=True, slots=True)
class Found:
    """Found are ranges of one kind, and in a few words the source that tells them."""

    networks: tuple[Network, ...]
    source: str


@dataclass(frozen=True, slots=True)
class RoutedRange:
    """A RoutedRange goes through the tunnel."""

    network: Network
    kind: str
    """`services`, `pods` or `included`."""
    source: str
    stand_in: Network | None = None
    """By which this machine reaches it, where it has the addresses themselves already."""

    @property
    def routed(self) -> Network:
        """What the machine sends into the tunnel."""
        return self.stand_in or self.network

    def __str__(self) -> str:
        return f"{self.network} as {self.stand_in}" if self.stand_in else str(self.network)


async def discover(
    api: Api, *, include: Sequence[Network] = (), exclude: Sequence[Network] = (), pods: bool = True
) -> list[RoutedRange]:
    """Return what `choose` routes of what the cluster tells. It asks all at once: some 10 ms on a near cluster."""
    async with task_group() as tasks:
        addresses = tasks.create_task(api.addresses(), name="resolve the API server")
        of_services = tasks.create_task(service_ranges(api), name="discover service ranges")
        of_pods = tasks.create_task(pod_ranges(api), name="discover pod ranges") if pods else None
    found_pods = of_pods.result() if of_pods else Found((), "--no-pods")
    return choose(of_services.result(), found_pods, include=include, exclude=exclude, api_addresses=addresses.result())


async def service_ranges(api: Api) -> Found:
    """Ask the ServiceCIDR API, else for the answer to an impossible Service, else for what the Services show."""
    for resource in SERVICE_CIDRS:
        try:
            documents = [item async for item in list_all(api, resource.path())]
        except NotFound:
            continue
        except Forbidden:
            break
        if networks := aggregate(ip_network(text) for item in documents for text in item["spec"].get("cidrs") or []):
            return Found(tuple(networks), BY_SERVICE_CIDR)
    try:
        if networks := await _ranges_of_an_impossible_service(api):
            return Found(tuple(networks), BY_API_SERVER)
    except Forbidden:
        pass
    return await _ranges_of_shown_services(api)


async def pod_ranges(api: Api) -> Found:
    """Return the nodes' podCIDRs and the pods outside them; without podCIDRs just the pods' own addresses.

    Some network plugins ignore podCIDRs and use a pool of their own, hence the look at the pods.
    """
    of_nodes: list[Network] = []
    with contextlib.suppress(Forbidden):
        async for node in list_all(api, NODES.path()):
            of_nodes += map(ip_network, pod_cidrs(node))
    of_nodes = aggregate(of_nodes)
    addresses, whose = await _visible(api, PODS, pod_addresses, fields="status.phase=Running", expected=of_nodes)
    outside = [ip_network(address) for address in addresses if not is_covered(address, of_nodes)]
    networks = tuple(aggregate([*of_nodes, *outside]))
    if not of_nodes:
        return Found(networks, f"the addresses of {whose}")
    return Found(networks, f"{OF_NODES} and {whose}" if outside else OF_NODES)


def choose(
    services: Found,
    pods: Found,
    *,
    include: Sequence[Network] = (),
    exclude: Sequence[Network] = (),
    api_addresses: Sequence[Address] = (),
) -> list[RoutedRange]:
    """Choose what is routed: the cluster's ranges and `include`, without `exclude` and what must never be routed.

    Raises RangeOverlap when `include` asks for a default route.
    """
    for network in include:
        if network.prefixlen == 0:
            raise RangeOverlap(
                f"{network} is every address there is, and ktpy never takes the default route.",
                hint="Name the ranges you need with --include.",
            )
    holes = [*exclude, *NEVER_ROUTED, *map(ip_network, api_addresses)]
    chosen: list[RoutedRange] = []
    for kind, networks, source in (
        ("included", tuple(include), "--include"),
        ("services", services.networks, services.source),
        ("pods", pods.networks, pods.source),
    ):
        taken = [routed.network for routed in chosen]
        chosen += [RoutedRange(network, kind, source) for network in subtract(networks, [*holes, *taken])]
    return chosen


def refuse_overlaps(
    routed: Iterable[RoutedRange], local_networks: Iterable[LocalNetwork], include: Sequence[Network] = ()
) -> None:
    """Raise RangeOverlap when a routed range and a local network share addresses that no --include names.

    It also refuses a range as wide as a default route, which overlaps every network.
    """
    ranges = list(routed)
    for entry in ranges:
        if is_default_route(entry.routed):
            raise RangeOverlap(
                f"{entry.routed} ({entry.kind}, from {entry.source}) is as wide as a default route, which ktpy never "
                "takes.",
                hint=f"Leave it out with --exclude {entry.network}.",
            )
    found = overlaps((entry.routed for entry in ranges), local_networks, allowed=include)
    if not found:
        return
    kinds = {entry.routed: entry for entry in ranges}
    groups: dict[tuple[str, str, LocalNetwork], list[Overlap]] = {}
    for overlap in found:
        entry = kinds[overlap.network]
        groups.setdefault((entry.kind, entry.source, overlap.local), []).append(overlap)
    lines, shared = [], dict[Network, None]()
    for (kind, source, local), members in groups.items():
        # Pods whose ranges nobody tells are an address each; the next one lies among them.
        [network] = enclosing(member.network for member in members)
        shared |= dict.fromkeys(enclosing(member.shared for member in members))
        what = kind if len(members) == 1 else f"{len(members)} ranges of {kind}"
        lines.append(f"{network} ({what}, from {source}) overlaps {local.network} on {local.interface}")
    exclude, include_too = (
        " ".join(f"{option} {network}" for network in shared) for option in ("--exclude", "--include")
    )
    choice = f"Leave it local with {exclude}, or take it into the cluster with {include_too}."
    if any(overlap.local.interface.startswith(KTPY_LINK) for overlap in found):
        choice = (
            "Another `ktpy connect` on this machine routes it: give this one a name (`--name east`), end that one,"
            f" or leave it to that with {exclude}."
        )
    raise RangeOverlap(
        f"A range of the cluster is a local network too: {'; '.join(lines)}.",
        hint=f"{KEEP_BOTH}\n{choice}\n{NO_ROUTES}",
    )


def pod_cidrs(node: Json) -> list[str]:
    """Return the node's ranges of both families; on old clusters there is only `podCIDR`."""
    spec = spec_of(node)
    single_stack = [spec["podCIDR"]] if spec.get("podCIDR") else []
    return spec.get("podCIDRs") or single_stack


def pod_addresses(pod: Json) -> list[Address]:
    """Return the pod's own addresses: none while it has none, when it borrows the node's, or when it has ended."""
    status = status_of(pod)
    if spec_of(pod).get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return []
    return [ip_address(entry["ip"]) for entry in status.get("podIPs") or [] if entry.get("ip")]


def service_addresses(service: Json) -> list[Address]:
    """Return the cluster IPs of a Service; none when it is headless."""
    spec = spec_of(service)
    texts = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [ip_address(text) for text in texts if text and text != "None"]


def hand_made_addresses(endpoint_slice: Json) -> list[Address]:
    """Return what somebody wrote into an EndpointSlice, such as a database's address; none where a controller did.

    Addresses of the Internet are left out: who may write into the cluster must not get the laptop's way to them.
    """
    metadata = metadata_of(endpoint_slice)
    of_api_server = (metadata.get("namespace"), metadata.get("name")) == ("default", "kubernetes")
    if of_api_server or labels_of(endpoint_slice).get(MANAGED_BY_LABEL) == ENDPOINT_SLICE_CONTROLLER:
        return []
    if endpoint_slice.get("addressType") not in ("IPv4", "IPv6"):
        return []
    addresses = (
        ip_address(text) for endpoint in endpoints_of(endpoint_slice) for text in endpoint.get("addresses") or ()
    )
    return [address for address in addresses if not address.is_global]


def leave_out(ranges: Iterable[RoutedRange], networks: Sequence[Network]) -> list[RoutedRange]:
    """Return the ranges without these networks."""
    return [replace(entry, network=part) for entry in ranges for part in subtract([entry.network], networks)]


def routed_too(
    addresses: Iterable[Address], routed: Sequence[RoutedRange], *, exclude: Sequence[Network], source: str
) -> list[RoutedRange]:
    """Return Service addresses known from elsewhere that are not routed yet and not excluded."""
    holes = [*exclude, *NEVER_ROUTED, *(entry.network for entry in routed)]
    return [RoutedRange(network, "services", source) for network in subtract(map(ip_network, addresses), holes)]


async def _ranges_of_an_impossible_service(api: Api) -> list[Network]:
    """Ask, as a dry run, for a cluster IP outside every range of a family; the refusal names the valid one."""

    async def ask(address: str) -> list[Network]:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"generateName": "ktpy-range-"},
            "spec": {"clusterIP": address, "ports": [{"port": 1}]},
        }
        try:
            await api.request("POST", SERVICES.path(api.namespace), query={"dryRun": "All"}, body=service)
        except (Forbidden, NamespaceAbsent):
            raise
        except ApiRefused as refused:
            return ranges_in(refused.message)
        return []

    return aggregate([network for networks in await asyncio.gather(*map(ask, _OUTSIDE)) for network in networks])


def ranges_in(message: str) -> list[Network]:
    """Return the ranges in "... The range of valid IPs is 10.96.0.0/16" (older: "valid IPs is ...")."""
    return [ip_network(text, strict=False) for text in _VALID_IPS.findall(message)]


async def _ranges_of_shown_services(api: Api) -> Found:
    """Return the smallest range that holds all visible cluster IPs. The real one, which is a prefix, holds it, too."""
    addresses, whose = await _visible(api, SERVICES, service_addresses)
    networks = covering(addresses)
    if any(network.prefixlen < _WIDEST_SERVICE_RANGE[network.version] for network in networks):
        networks = aggregate(map(ip_network, addresses))  # of several ranges: none can be told
    return Found(tuple(networks), f"the cluster IPs of {whose}")


async def _visible(
    api: Api,
    resource: Resource,
    addresses_of: Callable[[Json], list[Address]],
    *,
    fields: str = "",
    expected: Sequence[Network] = (),
) -> tuple[list[Address], str]:
    """Return the addresses of all objects of the cluster, else of the namespace, else none; and whose they are.

    When a whole page of objects lies in the `expected` ranges, the others are taken to lie there too.
    """
    of_namespace = f"the {resource.plural} in namespace {api.namespace}"
    for path, whose in ((resource.path(), f"all {resource.plural}"), (resource.path(api.namespace), of_namespace)):
        seen, addresses = 0, list[Address]()
        try:
            async for item in list_all(api, path, fields=fields):
                addresses += addresses_of(item)
                seen += 1
                if seen == PAGE_LIMIT and expected and all(is_covered(address, expected) for address in addresses):
                    break
        except Forbidden:
            continue
        return addresses, whose
    return [], f"{resource.plural}, which this user may not list"
