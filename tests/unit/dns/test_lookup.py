"""Addresses of the cluster's names, for ktpy's own use."""

from ipaddress import ip_address

import pytest

from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.lookup import ClusterLookup
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.zone import Zone
from tests.unit.dns.kube import external_name, service
from tests.unit.dns.name_servers import answering, failing
from tests.unit.dns.test_resolver import Script

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def lookup(cluster: Script | None = None, *, synced: bool = True) -> ClusterLookup:
    zone = Zone()
    zone.upsert_service(service("web", "shop", "10.96.0.7", "fd96::7"))
    zone.upsert_service(external_name("db", "db.example"))
    zone.synced = synced
    forwarder = Forwarder(cluster) if cluster else None
    return ClusterLookup(SplitResolver(zone, cluster=forwarder, search=SEARCH), SEARCH)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("web.shop.svc", True),
        ("absent.shop.svc", True),
        ("x.cluster.local", True),
        ("web", False),
        ("a.example", False),
    ],
)
def test_which_names_are_the_clusters_as_they_stand(name: str, ours: bool) -> None:
    assert lookup().is_ours(name) is ours


async def test_both_families_ipv4_first() -> None:
    both = [ip_address("10.96.0.7"), ip_address("fd96::7")]
    assert await lookup().in_full("web.shop.svc") == both
    assert await lookup().by_search("web") == both
    assert await lookup().by_search("web.shop") == both


@pytest.mark.parametrize("name", ["absent.shop.svc", "x" * 64 + ".shop.svc", "a..b.svc", "\N{SNOWMAN}.shop.svc"])
async def test_what_does_not_exist(name: str) -> None:
    assert await lookup().in_full(name) == []


async def test_names_that_only_the_cluster_knows() -> None:
    asking = lookup(Script(answering("192.0.2.1")))
    assert set(await asking.in_full("db.shop.svc")) == {ip_address("192.0.2.1")}
    unsynced = lookup(Script(answering("192.0.2.1")), synced=False)
    assert set(await unsynced.by_search("web")) == {ip_address("192.0.2.1")}


@pytest.mark.parametrize("cluster", [None, Script(failing("SERVFAIL"))])
async def test_a_cluster_that_does_not_answer(cluster: Script | None) -> None:
    with pytest.raises(NoAnswerError, match="does not tell the address of web"):
        await lookup(cluster, synced=False).by_search("web")
