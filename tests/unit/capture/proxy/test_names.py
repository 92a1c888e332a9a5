"""Where names lead: the cluster's, the outside's, and those that both have."""

import asyncio
from ipaddress import ip_address

import pytest

from ktpy.capture.proxy.destination import Address, DialFailure, Kind
from ktpy.capture.proxy.names import OUTSIDE_TTL_S, Names, ask_machine
from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.lookup import ClusterLookup
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.zone import Zone
from tests.unit.dns.kube import service
from tests.unit.dns.name_servers import Behaviour, denying, failing
from tests.unit.dns.test_resolver import Script

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
WEB, STORE, OUTSIDE = "10.96.0.7", "10.96.0.8", "192.0.2.7"


class Outside:
    """The machine's own resolver: it knows these names, and is silent about those."""

    def __init__(self, *names: str, silent: tuple[str, ...] = ()) -> None:
        self.names, self.silent = names, silent
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[Address]:
        self.asked.append(name)
        if name in self.silent:
            await asyncio.sleep(60)
        return [ip_address(OUTSIDE)] if name in self.names else []


DENYING = denying()


def names(outside: Outside, *, cluster: Behaviour = DENYING) -> Names:
    """`cluster` is what the cluster's DNS answers; ktpy does not ask it about what it watches."""
    zone = Zone()
    for name, namespace, address in (("web", "shop", WEB), ("example", "com", WEB), ("db-0", "store", STORE)):
        zone.upsert_service(service(name, namespace, address))
    zone.synced = True
    forwarder = Forwarder(Script(cluster))
    return Names(ClusterLookup(SplitResolver(zone, cluster=forwarder, search=SEARCH), SEARCH), outside)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("web", WEB),
        ("WEB", WEB),
        ("web.shop", WEB),
        ("web.shop.svc", WEB),
        ("web.shop.svc.cluster.local", WEB),
        ("web.shop.svc.cluster.local.", WEB),
        ("db-0.store", STORE),
        ("db-0.store.svc", STORE),
    ],
)
async def test_names_of_the_cluster(name: str, address: str) -> None:
    found = await names(Outside()).resolve(name)
    assert (found.addresses, found.is_inside) == ([ip_address(address)], True)


@pytest.mark.parametrize("name", ["www.example", "www.example.org", "host"])
async def test_names_of_the_outside(name: str) -> None:
    found = await names(Outside(name)).resolve(name)
    assert (found.addresses, found.is_inside) == ([ip_address(OUTSIDE)], False)


@pytest.mark.parametrize("name", ["localhost", "app.localhost"])
async def test_localhost_is_this_machine(name: str) -> None:
    outside = Outside(name)
    assert not (await names(outside).resolve(name)).is_inside
    assert outside.asked == [name]


@pytest.mark.parametrize(("outside", "is_inside"), [(Outside("example.com"), False), (Outside(), True)])
async def test_a_name_with_a_dot_that_exists_outside_is_the_outsides(outside: Outside, is_inside: bool) -> None:
    assert (await names(outside).resolve("example.com")).is_inside is is_inside


async def test_who_is_offline_waits_once() -> None:
    outside = Outside(silent=("web.shop",))
    resolving, loop = names(outside), asyncio.get_running_loop()
    began_s = loop.time()
    for _ in range(3):
        assert (await resolving.resolve("web.shop")).is_inside
    assert loop.time() - began_s < 2
    assert outside.asked == ["web.shop"]
    assert OUTSIDE_TTL_S > 1


@pytest.mark.parametrize("name", ["absent", "absent.shop", "absent.shop.svc", "a.b.c.d", "web.", "x" * 70, "wpad"])
async def test_what_nobody_knows(name: str) -> None:
    with pytest.raises(DialFailure) as failed:
        await names(Outside()).resolve(name)
    assert failed.value.kind is Kind.UNKNOWN_NAME
    assert failed.value.sentence == f"There is no {name}, neither in the cluster nor outside."


async def test_a_cluster_that_cannot_tell_does_not_deny() -> None:
    resolving = names(Outside("github.com"), cluster=failing("SERVFAIL"))
    assert not (await resolving.resolve("github.com")).is_inside
    with pytest.raises(DialFailure) as failed:
        await resolving.resolve("absent")
    assert failed.value.kind is Kind.NO_ANSWER
    assert isinstance(failed.value.__cause__, NoAnswerError)


async def test_the_machine_is_asked_as_any_program_asks_it() -> None:
    assert ip_address("127.0.0.1") in await ask_machine("localhost")
    assert await ask_machine("x" * 70) == []
