import pytest

from ktpy.dns.records import dashed, packed
from ktpy.dns.watch_cache import WatchCache
from tests.unit.dns.kube import endpoint_slice, external_name, service


@pytest.fixture
def cache() -> WatchCache:
    """A dual-stack service, a headless one with a slice of each family, one that publishes what is not ready."""
    cache = WatchCache()
    cache.upsert_service(service("web", "shop", "10.96.0.7", "fd96::7"))
    cache.upsert_service(service("db"))
    cache.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.5", "db-0"), ("10.244.0.6", None)))
    cache.upsert_endpoint_slice(endpoint_slice("db", "shop", ("fd44::5", "db-0"), suffix="v6"))
    cache.upsert_service(service("eager", publishNotReadyAddresses=True))
    cache.upsert_endpoint_slice(endpoint_slice("eager", "shop", ("10.244.0.20", None, False)))
    return cache


def endpoints_of(cache: WatchCache, name: str) -> set[str]:
    found = cache.service("shop", name)
    assert found is not None
    return {dashed(endpoint.address) for endpoint, _ in cache.endpoints(found)}


def behind(cache: WatchCache, address: str) -> set[tuple[str, str]]:
    """Host names and services of the endpoints that have an address."""
    return {(endpoint.hostname, of.name) for endpoint, of in cache.endpoints_at(packed(address))}


def service_at(cache: WatchCache, address: str) -> str | None:
    found = cache.service_at(packed(address))
    return found.name if found else None


def test_a_changed_cluster_ip_is_the_services_and_the_old_one_is_nobodys(cache: WatchCache) -> None:
    cache.upsert_service(service("web", "shop", "10.96.0.70"))
    assert (service_at(cache, "10.96.0.70"), service_at(cache, "10.96.0.7")) == ("web", None)


def test_an_address_that_went_to_another_service_before_the_first_was_deleted(cache: WatchCache) -> None:
    cache.upsert_service(service("heir", "shop", "10.96.0.7"))
    cache.delete_service("shop", "web")
    assert service_at(cache, "10.96.0.7") == "heir"


def test_a_changed_slice_replaces_the_old_one(cache: WatchCache) -> None:
    cache.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.50", "db-5")))
    assert endpoints_of(cache, "db") == {"10-244-0-50", "fd44--5"}
    assert behind(cache, "10.244.0.50") == {("db-5", "db")}
    assert behind(cache, "10.244.0.5") == set()


def test_a_deleted_slice_takes_its_endpoints_along(cache: WatchCache) -> None:
    cache.delete_endpoint_slice("shop", "db-a")
    assert endpoints_of(cache, "db") == {"fd44--5"}
    cache.delete_endpoint_slice("shop", "db-v6")
    assert endpoints_of(cache, "db") == set()


def test_a_slice_that_loses_its_service_label_is_dropped(cache: WatchCache) -> None:
    orphan = endpoint_slice("db", "shop", ("10.244.0.5", "db-0"))
    orphan["metadata"]["labels"] = {}
    cache.upsert_endpoint_slice(orphan)
    assert endpoints_of(cache, "db") == {"fd44--5"}


def test_a_slice_may_come_before_its_service() -> None:
    cache = WatchCache()
    cache.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.5", "db-0")))
    assert (cache.service("shop", "db"), behind(cache, "10.244.0.5")) == (None, set())
    cache.upsert_service(service("db"))
    assert (endpoints_of(cache, "db"), behind(cache, "10.244.0.5")) == ({"10-244-0-5"}, {("db-0", "db")})


def test_a_pod_may_be_behind_two_services(cache: WatchCache) -> None:
    cache.upsert_service(service("replica"))
    cache.upsert_endpoint_slice(endpoint_slice("replica", "shop", ("10.244.0.5", "db-0")))
    assert behind(cache, "10.244.0.5") == {("db-0", "db"), ("db-0", "replica")}


def test_deleting_what_is_not_known_changes_nothing(cache: WatchCache) -> None:
    before = cache.generation
    cache.delete_service("shop", "gone")
    cache.delete_service("nowhere", "web")
    cache.delete_endpoint_slice("shop", "gone")
    cache.delete_endpoint_slice("nowhere", "web-a")
    assert cache.generation == before


def test_the_generation_moves_with_changes_that_count_and_only_with_them(cache: WatchCache) -> None:
    cache.upsert_service(external_name("out", "db.example.com"))
    before = cache.generation
    cache.upsert_service(external_name("out", "db.example.com"))
    cache.upsert_endpoint_slice(endpoint_slice("eager", "shop", ("10.244.0.20", None, False)))
    assert cache.generation == before
    cache.upsert_service(external_name("out", "db2.example.com"))
    assert cache.generation > before


def test_emptied_it_keeps_nothing() -> None:
    cache = WatchCache()
    cache.upsert_service(service("web", "shop", "10.96.0.7", "fd96::7"))
    cache.upsert_endpoint_slice(endpoint_slice("web", "shop", ("10.244.0.9", None)))
    cache.delete_endpoint_slice("shop", "web-a")
    cache.delete_service("shop", "web")
    assert not cache._namespaces
    assert not cache._service_at
    assert not cache._slices_at
