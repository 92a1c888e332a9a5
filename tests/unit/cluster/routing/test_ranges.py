"""Discovery against a scripted API server, source by source; and the choice of what is routed."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ktpy.cluster.routing import ranges
from ktpy.cluster.routing.networks import Network
from ktpy.cluster.routing.ranges import Found, RoutedRange, choose, leave_out, refuse_overlaps
from ktpy.errors import NamespaceAbsent, RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.kube.client import Api
from ktpy.kube.watch import PAGE_LIMIT
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, listed, refusing

CIDRS_V1 = "GET /apis/networking.k8s.io/v1/servicecidrs"
CIDRS_BETA = "GET /apis/networking.k8s.io/v1beta1/servicecidrs"
PROBE = "POST /api/v1/namespaces/shop/services"
SERVICES = "GET /api/v1/services"
OWN_SERVICES = "GET /api/v1/namespaces/shop/services"
NODES = "GET /api/v1/nodes"
PODS = "GET /api/v1/pods"
OWN_PODS = "GET /api/v1/namespaces/shop/pods"
VALID_V4 = (
    'Service "x" is invalid: spec.clusterIPs: Invalid value: ["192.0.2.1"]: failed to allocate IP 192.0.2.1: '
    "the provided IP (192.0.2.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
)
VALID_V6 = VALID_V4.replace("192.0.2.1", "2001:db8::1").replace("10.96.0.0/16", "fd96::/108")


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def named(name: str, **parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **parts}


def service_cidr(*cidrs: str) -> dict[str, Any]:
    return named("kubernetes", spec={"cidrs": list(cidrs)})


def service(*cluster_ips: str) -> dict[str, Any]:
    return named("s", spec={"clusterIP": cluster_ips[0], "clusterIPs": list(cluster_ips)})


def node(*cidrs: str) -> dict[str, Any]:
    return named("n", spec={"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {})


def pod(*ips: str, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return named("p", spec=spec, status={"phase": phase, "podIPs": [{"ip": ip} for ip in ips]})


class TestServiceRanges:
    async def test_the_api_for_it(self, stub: ApiStub, api: Api) -> None:
        stub.script(CIDRS_V1, listed(service_cidr("10.96.0.0/16", "fd96::/108"), service_cidr("10.120.0.0/20")))
        found = await ranges.service_ranges(api)
        assert found == Found(networks("10.96.0.0/16", "10.120.0.0/20", "fd96::/108"), "the ServiceCIDR API")

    async def test_its_beta(self, stub: ApiStub, api: Api) -> None:
        stub.script(CIDRS_BETA, listed(service_cidr("10.96.0.0/16")))
        assert (await ranges.service_ranges(api)).networks == networks("10.96.0.0/16")

    async def test_without_it_an_impossible_service_is_tried_dry_in_both_families(
        self, stub: ApiStub, api: Api
    ) -> None:
        stub.script(PROBE, refusing(422, VALID_V4), refusing(422, VALID_V6))
        found = await ranges.service_ranges(api)
        assert found.networks == networks("10.96.0.0/16", "fd96::/108")
        assert "invalid Service" in found.source
        assert [asked.query for asked in stub.asked_for(PROBE)] == [{"dryRun": "All"}] * 2

    async def test_a_family_the_cluster_does_not_have(self, stub: ApiStub, api: Api) -> None:
        stub.script(PROBE, refusing(422, VALID_V4), refusing(422, "this cluster is not configured for dual-stack"))
        assert (await ranges.service_ranges(api)).networks == networks("10.96.0.0/16")

    @pytest.mark.parametrize("probe", [forbidding(), refusing(422, "some other words"), Answer({}, status=201)])
    async def test_else_the_smallest_range_of_what_services_show(self, stub: ApiStub, api: Api, probe: Answer) -> None:
        stub.script(CIDRS_V1, forbidding())
        stub.script(PROBE, probe)
        shown = [service("10.96.0.1"), service("10.96.130.7", "fd96::2"), service("None"), named("e", spec={})]
        stub.script(SERVICES, listed(*shown))
        found = await ranges.service_ranges(api)
        assert found == Found(networks("10.96.0.0/16", "fd96::2/128"), "the cluster IPs of all services")

    async def test_else_of_those_in_the_users_namespace(self, stub: ApiStub, api: Api) -> None:
        for route in (CIDRS_V1, PROBE, SERVICES):
            stub.script(route, forbidding())
        stub.script(OWN_SERVICES, listed(service("10.96.4.1"), service("10.96.4.9")))
        found = await ranges.service_ranges(api)
        assert found == Found(networks("10.96.4.0/28"), "the cluster IPs of the services in namespace shop")

    async def test_addresses_of_several_ranges_are_not_joined(self, stub: ApiStub, api: Api) -> None:
        stub.script(PROBE, forbidding())
        stub.script(SERVICES, listed(service("10.96.0.1"), service("172.20.0.1")))
        assert (await ranges.service_ranges(api)).networks == networks("10.96.0.1/32", "172.20.0.1/32")

    async def test_nothing_may_be_seen(self, stub: ApiStub, api: Api) -> None:
        for route in (CIDRS_V1, PROBE, SERVICES, OWN_SERVICES):
            stub.script(route, forbidding())
        found = await ranges.service_ranges(api)
        assert found == Found((), "the cluster IPs of services, which this user may not list")

    async def test_an_absent_namespace_is_said_at_once(self, stub: ApiStub, api: Api) -> None:
        stub.script(PROBE, refusing(404, 'namespaces "shop" not found', kind="namespaces", name="shop"))
        with pytest.raises(NamespaceAbsent):
            await ranges.service_ranges(api)


class TestPodRanges:
    async def test_the_nodes_ranges_aggregated(self, stub: ApiStub, api: Api) -> None:
        stub.script(NODES, listed(node("10.244.0.0/24", "fd44::/64"), node("10.244.1.0/24")))
        stub.script(PODS, listed(pod("10.244.0.5", "fd44::5")))
        found = await ranges.pod_ranges(api)
        assert found == Found(networks("10.244.0.0/23", "fd44::/64"), "the nodes' podCIDRs")

    async def test_pods_outside_the_nodes_ranges_are_added(self, stub: ApiStub, api: Api) -> None:
        stub.script(NODES, listed(node("10.244.0.0/24")))
        stub.script(PODS, listed(pod("10.244.0.5"), pod("192.168.3.4")))
        found = await ranges.pod_ranges(api)
        assert found == Found(networks("10.244.0.0/24", "192.168.3.4/32"), "the nodes' podCIDRs and all pods")

    async def test_without_node_ranges_the_pods_addresses_and_nothing_wider(self, stub: ApiStub, api: Api) -> None:
        stub.script(NODES, listed(node()))
        stub.script(PODS, listed(pod("10.0.1.4"), pod("10.0.1.5"), pod("10.0.1.9")))
        found = await ranges.pod_ranges(api)
        assert found == Found(networks("10.0.1.4/31", "10.0.1.9/32"), "the addresses of all pods")

    async def test_pods_that_have_no_address_of_their_own(self, stub: ApiStub, api: Api) -> None:
        stub.script(NODES, forbidding())
        shown = [pod("10.99.0.1", hostNetwork=True), pod("10.244.0.9", phase="Succeeded"), pod(), named("new")]
        stub.script(PODS, listed(*shown, pod("10.244.0.8")))
        assert (await ranges.pod_ranges(api)).networks == networks("10.244.0.8/32")

    async def test_only_the_users_namespace(self, stub: ApiStub, api: Api) -> None:
        for route in (NODES, PODS):
            stub.script(route, forbidding())
        stub.script(OWN_PODS, listed(pod("10.244.0.8")))
        found = await ranges.pod_ranges(api)
        assert found == Found(networks("10.244.0.8/32"), "the addresses of the pods in namespace shop")

    async def test_one_page_of_pods_within_the_nodes_ranges_is_proof_enough(self, stub: ApiStub, api: Api) -> None:
        stub.script(NODES, listed(node("10.244.0.0/16")))
        page = [pod(f"10.244.{index // 250}.{index % 250 + 1}") for index in range(PAGE_LIMIT)]
        stub.script(PODS, listed(*page, more="next"))
        await ranges.pod_ranges(api)
        assert len(stub.asked_for(PODS)) == 1


def test_pod_cidr_of_an_old_cluster() -> None:
    assert ranges.pod_cidrs({"spec": {"podCIDR": "10.244.0.0/24"}}) == ["10.244.0.0/24"]


class TestChoose:
    SERVICES = Found(networks("10.96.0.0/16", "fd96::/108"), "s")
    PODS = Found(networks("10.244.0.0/24", "fd44::/64"), "p")

    def test_all_that_was_found_with_its_source(self) -> None:
        assert choose(self.SERVICES, self.PODS) == [
            RoutedRange(ip_network("10.96.0.0/16"), "services", "s"),
            RoutedRange(ip_network("fd96::/108"), "services", "s"),
            RoutedRange(ip_network("10.244.0.0/24"), "pods", "p"),
            RoutedRange(ip_network("fd44::/64"), "pods", "p"),
        ]

    def routed(self, **options: Any) -> list[str]:
        return [str(entry.network) for entry in choose(self.SERVICES, self.PODS, **options)]

    def test_exclude(self) -> None:
        assert self.routed(exclude=networks("10.96.0.0/17", "fd00::/8")) == ["10.96.128.0/17", "10.244.0.0/24"]

    def test_include_adds(self) -> None:
        assert "172.31.0.0/16" in self.routed(include=networks("172.31.0.0/16"))

    def test_no_address_is_routed_twice(self) -> None:
        entries = choose(self.SERVICES, self.PODS, include=networks("10.96.0.0/17"))
        of_services = [str(entry.network) for entry in entries if entry.kind == "services"]
        assert of_services == ["10.96.128.0/17", "fd96::/108"]

    def test_exclude_wins_over_include(self) -> None:
        assert "172.31.0.0/16" not in self.routed(include=networks("172.31.0.0/16"), exclude=networks("172.31.0.0/16"))

    def test_the_api_server_is_never_routed(self) -> None:
        left = choose(self.SERVICES, self.PODS, api_addresses=[ip_address("10.244.0.1"), ip_address("10.9.9.9")])
        pods = [entry.network for entry in left if entry.kind == "pods" and entry.network.version == 4]
        assert sum(network.num_addresses for network in pods) == 255
        assert not any(ip_address("10.244.0.1") in network for network in pods)

    @pytest.mark.parametrize(
        "asked", ["127.0.0.0/8", "169.254.169.254/32", "fe80::/64", "::1/128", "::1:0/112", "::ffff:10.0.0.0/112"]
    )
    def test_what_means_something_else_on_each_machine_is_never_routed(self, asked: str) -> None:
        assert self.routed(include=networks(asked)) == self.routed()

    @pytest.mark.parametrize("everything", ["0.0.0.0/0", "::/0"])
    def test_a_default_route_is_refused(self, everything: str) -> None:
        with pytest.raises(RangeOverlap, match="never takes the default route"):
            choose(self.SERVICES, self.PODS, include=networks(everything))


class TestRefuseOverlaps:
    ROUTED = (RoutedRange(ip_network("10.96.0.0/16"), "services", "the ServiceCIDR API"),)
    VPN = LocalNetwork(ip_network("10.96.5.0/24"), "tun9")

    def test_names_range_network_and_interface(self) -> None:
        with pytest.raises(RangeOverlap) as raised:
            refuse_overlaps(self.ROUTED, [self.VPN])
        assert raised.value.message == (
            "A range of the cluster is a local network too: "
            "10.96.0.0/16 (services, from the ServiceCIDR API) overlaps 10.96.5.0/24 on tun9."
        )
        assert raised.value.hint is not None
        for way in ("--on-overlap translate", "--exclude 10.96.5.0/24", "`ktpy run`", "--mode proxy"):
            assert way in raised.value.hint

    def test_the_message_does_not_grow_with_the_cluster(self) -> None:
        """Fifty pods without podCIDRs under a VPN of 10.0.0.0/8, and the pods that are yet to come."""
        pods = [
            RoutedRange(ip_network(f"10.244.0.{number}"), "pods", "the addresses of all pods") for number in range(50)
        ]
        vpn, other = LocalNetwork(ip_network("10.0.0.0/8"), "tun0"), LocalNetwork(ip_network("10.244.0.48/28"), "eth1")
        with pytest.raises(RangeOverlap) as raised:
            refuse_overlaps([*self.ROUTED, *pods], [vpn, other])
        assert raised.value.message == (
            "A range of the cluster is a local network too: "
            "10.96.0.0/16 (services, from the ServiceCIDR API) overlaps 10.0.0.0/8 on tun0; "
            "10.244.0.0/26 (50 ranges of pods, from the addresses of all pods) overlaps 10.0.0.0/8 on tun0; "
            "10.244.0.48/31 (2 ranges of pods, from the addresses of all pods) overlaps 10.244.0.48/28 on eth1."
        )
        assert raised.value.hint is not None
        assert "--include 10.96.0.0/16 --include 10.244.0.0/26 --include 10.244.0.48/31" in raised.value.hint
        refuse_overlaps([*self.ROUTED, *pods], [vpn, other], include=networks("10.96.0.0/16", "10.244.0.0/26"))

    def test_the_link_of_another_ktpy_is_nothing_to_include(self) -> None:
        with pytest.raises(RangeOverlap, match="on ktpy0") as raised:
            refuse_overlaps(
                self.ROUTED,
                [LocalNetwork(ip_network("10.96.0.0/16"), "ktpy0"), LocalNetwork(ip_network("10.244.0.0/24"), "ktpy0")],
            )
        assert raised.value.hint is not None
        assert "Another `ktpy connect` on this machine" in raised.value.hint
        assert "--include" not in raised.value.hint

    def test_other_networks_do_not_matter(self) -> None:
        others = [LocalNetwork(ip_network(text), "wlan0") for text in ("192.168.1.0/24", "0.0.0.0/0")]
        refuse_overlaps(self.ROUTED, others)

    @pytest.mark.parametrize("wide", ["100.0.0.0/7", "2000::/3"])
    def test_a_range_as_wide_as_a_default_route_is_not_taken(self, wide: str) -> None:
        with pytest.raises(
            RangeOverlap, match=f"^{wide} .pods, from the nodes. is as wide as a default route"
        ) as raised:
            refuse_overlaps([*self.ROUTED, RoutedRange(ip_network(wide), "pods", "the nodes")], [])
        assert raised.value.hint == f"Leave it out with --exclude {wide}."

    def test_an_include_allows_it(self) -> None:
        refuse_overlaps(self.ROUTED, [self.VPN], include=networks("10.96.5.0/24"))


async def test_discover_asks_for_everything_and_chooses(stub: ApiStub, api: Api) -> None:
    stub.script(CIDRS_V1, listed(service_cidr("10.96.0.0/16")))
    stub.script(NODES, listed(node("10.244.0.0/24")))
    stub.script(PODS, listed())
    routed = await ranges.discover(api, include=networks("172.31.0.0/16"), exclude=networks("10.96.0.0/17"))
    assert [str(entry.network) for entry in routed] == ["172.31.0.0/16", "10.96.128.0/17", "10.244.0.0/24"]


async def test_discover_without_pods_does_not_ask_for_them(stub: ApiStub, api: Api) -> None:
    stub.script(CIDRS_V1, listed(service_cidr("10.96.0.0/16")))
    assert [entry.kind for entry in await ranges.discover(api, pods=False)] == ["services"]
    assert len(stub.asked) == 1


async def test_discover_fails_as_what_failed(stub: ApiStub, api: Api) -> None:
    stub.script(PROBE, refusing(404, 'namespaces "shop" not found', kind="namespaces", name="shop"))
    for route in (NODES, PODS):
        stub.script(route, listed())
    with pytest.raises(NamespaceAbsent):
        await ranges.discover(api)


def test_what_is_left_out_is_cut_from_each_range() -> None:
    ranges = [RoutedRange(network, "services", "a test") for network in networks("10.96.0.0/30", "fd96::/126")]
    left = leave_out(ranges, networks("10.96.0.1/32", "192.0.2.1/32"))
    assert [entry.network for entry in left] == list(networks("10.96.0.0/32", "10.96.0.2/31", "fd96::/126"))
    assert {(entry.kind, entry.source) for entry in left} == {("services", "a test")}


@pytest.mark.parametrize(
    ("name", "labels", "kind", "addresses", "expected"),
    [
        ("db", {}, "IPv4", ["172.31.7.7"], ["172.31.7.7"]),
        ("db", {"endpointslice.kubernetes.io/managed-by": "ops"}, "IPv6", ["fd12::7"], ["fd12::7"]),
        ("db", {}, "IPv4", ["8.8.8.8", "10.1.2.3"], ["10.1.2.3"]),  # nobody takes the way to the Internet
        ("db", {}, "FQDN", ["db.example"], []),
        (
            "web",
            {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "IPv4",
            ["10.1.2.3"],
            [],
        ),
        ("kubernetes", {}, "IPv4", ["172.18.0.2"], []),
    ],
)
def test_addresses_that_somebody_wrote_into_an_endpoint_slice(
    name: str, labels: dict[str, str], kind: str, addresses: list[str], expected: list[str]
) -> None:
    endpoint_slice = {
        "metadata": {"namespace": "default", "name": name, "labels": labels},
        "addressType": kind,
        "endpoints": [{"addresses": [address]} for address in addresses],
    }
    assert list(map(str, ranges.hand_made_addresses(endpoint_slice))) == expected
