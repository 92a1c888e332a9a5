"""Ranges that come while a session lasts, from scripted watches."""

import asyncio
from contextlib import aclosing
from ipaddress import ip_address, ip_network
from typing import Any

from ktpy.cluster.routing.range_watch import new_endpoints, new_pods, new_services
from ktpy.cluster.routing.ranges import BY_SERVICE_CIDR, OF_NODES, RoutedRange, routed_too
from ktpy.kube.client import Api
from tests.unit.kube.api_stub import ApiStub, forbidding, listed, watched

NODES, PODS, OWN_PODS = "/api/v1/nodes", "/api/v1/pods", "/api/v1/namespaces/shop/pods"
BY_NODES = [RoutedRange(ip_network("10.244.0.0/24"), "pods", OF_NODES)]
BY_PODS = [RoutedRange(ip_network("10.244.0.8/32"), "pods", "the addresses of all pods")]


def node(name: str, version: str, cidr: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "spec": {"podCIDRs": [cidr]}}


def pod(name: str, version: str, ip: str) -> dict[str, Any]:
    status = {"phase": "Running", "podIPs": [{"ip": ip}]}
    return {"metadata": {"name": name, "resourceVersion": version}, "spec": {}, "status": status}


async def first(api: Api, routed: list[RoutedRange], count: int, **options: Any) -> list[RoutedRange]:
    fresh: list[RoutedRange] = []
    async with asyncio.timeout(5), aclosing(new_pods(api, routed, **options)) as found:
        async for ranges in found:
            fresh += ranges
            if len(fresh) == count:
                break
    return fresh


async def test_a_new_node_brings_its_range(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {NODES}", listed(node("one", "1", "10.244.0.0/24")))
    stub.script(f"WATCH {NODES}", watched(("ADDED", node("two", "2", "10.244.1.0/24"))))
    assert await first(api, BY_NODES, 1) == [RoutedRange(ip_network("10.244.1.0/24"), "pods", OF_NODES)]


async def test_where_nodes_say_nothing_a_new_pod_brings_its_address(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}", listed(pod("a", "1", "10.244.0.8")))
    stub.script(
        f"WATCH {PODS}", watched(("ADDED", pod("b", "2", "10.244.0.9")), ("MODIFIED", pod("b", "3", "10.244.0.9")))
    )
    assert await first(api, BY_PODS, 1) == [RoutedRange(ip_network("10.244.0.9/32"), "pods", "a new pod")]


async def test_pods_of_the_users_namespace_where_no_others_may_be_seen(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}", forbidding())
    stub.script(f"GET {OWN_PODS}", listed(pod("b", "2", "10.244.0.9")))
    assert [str(entry.network) for entry in await first(api, BY_PODS, 1)] == ["10.244.0.9/32"]


async def test_what_is_excluded_and_the_api_server_stay_out(stub: ApiStub, api: Api) -> None:
    addresses = ["10.244.7.1", "127.0.0.1", "10.244.0.9"]
    stub.script(f"GET {PODS}", listed(*(pod(address, "1", address) for address in addresses)))
    found = await first(api, BY_PODS, 1, exclude=[ip_network("10.244.7.0/24")])
    assert [str(entry.network) for entry in found] == ["10.244.0.9/32"]


async def test_it_ends_where_nothing_may_be_watched(stub: ApiStub, api: Api) -> None:
    for path in (NODES, PODS, OWN_PODS):
        stub.script(f"GET {path}", forbidding())
    assert await first(api, BY_NODES, 1) == []
    assert await first(api, BY_PODS, 1) == []


SERVICES, OWN_SERVICES = "/api/v1/services", "/api/v1/namespaces/shop/services"


def service(name: str, version: str, ip: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "spec": {"clusterIPs": [ip]}}


async def test_a_service_outside_what_is_routed_brings_its_address(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {SERVICES}", forbidding())
    stub.script(f"GET {OWN_SERVICES}", listed(service("a", "1", "10.96.0.7"), service("b", "1", "10.96.9.1")))
    routed = [RoutedRange(ip_network("10.96.0.0/24"), "services", "the cluster IPs of a namespace")]
    async with asyncio.timeout(5), aclosing(new_services(api, routed)) as found:
        assert await anext(found) == [RoutedRange(ip_network("10.96.9.1/32"), "services", "a new Service")]


async def test_a_service_range_that_is_known_for_good_needs_no_watch(api: Api) -> None:
    routed = [RoutedRange(ip_network("10.96.0.0/16"), "services", BY_SERVICE_CIDR)]
    assert [ranges async for ranges in new_services(api, routed)] == []


def test_a_known_address_is_routed_unless_it_is_already_or_must_not_be() -> None:
    routed = [RoutedRange(ip_network("10.96.0.0/24"), "services", "")]
    addresses = [ip_address(text) for text in ("10.96.0.10", "10.97.0.10", "10.98.0.10", "169.254.20.10")]
    found = routed_too(addresses, routed, exclude=[ip_network("10.98.0.0/16")], source="a pod")
    assert found == [RoutedRange(ip_network("10.97.0.10/32"), "services", "a pod")]


async def test_addresses_behind_names_are_routed_once_unless_they_are_already(api: Api) -> None:
    queue: asyncio.Queue[list[Any]] = asyncio.Queue()
    for texts in (["10.244.0.7", "172.31.7.7"], ["172.31.7.7"], ["172.31.8.8", "172.31.9.9"]):
        queue.put_nowait([ip_address(text) for text in texts])
    async with (
        asyncio.timeout(5),
        aclosing(new_endpoints(api, BY_NODES, queue, exclude=[ip_network("172.31.9.9")])) as found,
    ):
        shown = [[str(entry.network) for entry in await anext(found)] for _ in range(2)]
    assert shown == [["172.31.7.7/32"], ["172.31.8.8/32"]]


async def test_an_address_is_done_once_it_is_routed(api: Api) -> None:
    queue: asyncio.Queue[list[Any]] = asyncio.Queue()
    queue.put_nowait([ip_address("172.31.7.7")])
    async with asyncio.timeout(5), aclosing(new_endpoints(api, BY_NODES, queue)) as found:
        await anext(found)
        joining = asyncio.create_task(queue.join())
        await asyncio.sleep(0)
        assert not joining.done()
        following = asyncio.create_task(anext(found))
        await joining
        following.cancel()
        await asyncio.wait({following})
