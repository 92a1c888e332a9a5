"""Commands that do one thing and end; each runs in a thread, for it brings an event loop of its own."""

import asyncio
from pathlib import Path

import pytest

from ktpy.daemon.records import Record, Records
from ktpy.errors import Forbidden, NamespaceAbsent
from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice
from ktpy.sessions import once
from ktpy.wire.route import Match
from tests.unit.cluster.gateway_cases import essence, furnish, gateway, is_clean, preview
from tests.unit.kube.api_stub import kubeconfig
from tests.unit.kube.object_store import NAMESPACES, ObjectStore


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> once.ClusterRef:
    return once.ClusterRef(kubeconfig(tmp_path, store.url, {"token": "t"}))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "intercepts")


async def test_services_and_who_has_a_part_in_them(
    store: ObjectStore, store_api: Api, place: once.ClusterRef, records: Records
) -> None:
    furnish(store)
    await gateway(store_api, "a", "al@x", kind="mesh", match=Match(path_prefix="/b")).enter()
    await preview(store_api, "p").enter()
    store.pass_time(61)
    await gateway(store_api, "b", "bo@x").enter()
    found = await asyncio.to_thread(once.services, place, records, lambda _: None)
    assert (found["namespace"], list(found)) == ("shop", ["namespace", "context", "services", "developed"])
    pay, web = sorted(found["services"], key=lambda one: str(one["name"]))
    assert all(one.pop("since") and not one.pop("is_keeper") for one in web["intercepts"])
    assert [one.pop("local_down") for one in web["intercepts"]] == [[], []]
    assert web == {
        "name": "web",
        "ports": [{"port": 80, "name": "http", "protocol": "TCP", "app_protocol": "http"}],
        "type": "ClusterIP",
        "is_preview": False,
        "intercepts": [
            {
                "session": "a",
                "owner": "al@x",
                "description": "mesh of port 80, path /b",
                "kind": "mesh",
                "ports": [80],
                "match": {"headers": [], "path_prefix": "/b", "baggage": None},
                "is_live": False,
            },
            {
                "session": "b",
                "owner": "bo@x",
                "description": "exchange of port 80",
                "kind": "exchange",
                "ports": [80],
                "match": None,
                "is_live": True,
            },
        ],
    }
    assert (pay["name"], pay["is_preview"], len(pay["intercepts"])) == ("pay", True, 1)


async def test_the_list_first_undoes_what_was_killed(
    store: ObjectStore, store_api: Api, place: once.ClusterRef, records: Records
) -> None:
    before = furnish(store)
    await gateway(store_api, "a").enter()
    record = Record("a", "exchange", "web", "shop", store_api.target.server, None, place.kubeconfig)
    with records.hold(record):
        pass
    told: list[Event] = []
    found = await asyncio.to_thread(once.services, place, records, told.append)
    assert [one["intercepts"] for one in found["services"]] == [[]]
    assert told == [Notice("An earlier ktpy was killed: its exchange of web in namespace shop is undone.")]
    assert essence(store) == before


@pytest.mark.parametrize("all_namespaces", [False, True])
async def test_the_dead_are_swept_unless_it_is_a_dry_run(
    store: ObjectStore, store_api: Api, place: once.ClusterRef, all_namespaces: bool
) -> None:
    before = furnish(store)
    await gateway(store_api, "a", "al").enter()
    store.pass_time(61)

    async def sweep(*, dry_run: bool) -> list[str]:
        found, failures, kept = await asyncio.to_thread(
            once.sweep_dead, place, all_namespaces=all_namespaces, dry_run=dry_run
        )
        assert (failures, kept) == ([], [])
        return [f"{one.kind} {one.name}" for one in found]

    expected = ["session web/a", "interception web", "service web-ktpy-origin", "deployment web-ktpy-gateway"]
    assert await sweep(dry_run=True) == expected
    assert not is_clean(store)
    assert await sweep(dry_run=False) == expected
    assert essence(store) == before
    assert is_clean(store)


async def test_one_service_by_force(store: ObjectStore, store_api: Api, place: once.ClusterRef) -> None:
    before = furnish(store)
    await gateway(store_api, "a").enter()
    recovered = await asyncio.to_thread(once.recover, place, "web", evict=True)
    assert recovered is not None
    assert recovered.selector == {"app": "web"}
    assert essence(store) == before


async def test_a_namespace_that_does_not_exist_has_no_list(
    store: ObjectStore, place: once.ClusterRef, records: Records
) -> None:
    assert (await asyncio.to_thread(once.services, place, records, lambda _: None))["services"] == []
    store.remove(NAMESPACES, "shop")
    with pytest.raises(NamespaceAbsent, match="Namespace shop does not exist"):
        await asyncio.to_thread(once.services, place, records, lambda _: None)


async def test_a_refusal_ends_with_what_an_administrator_types(
    store: ObjectStore, place: once.ClusterRef, records: Records
) -> None:
    store.forbidden |= {"list services", "list pods"}
    refused = [
        lambda: once.services(place, records, lambda _: None),
        lambda: once.sweep_dead(place, all_namespaces=False, dry_run=True),
        lambda: once.sweep_dead(place, all_namespaces=False, dry_run=False),
    ]
    for command in refused:
        with pytest.raises(Forbidden, match="may not list") as caught:
            await asyncio.to_thread(command)
        assert "ktpy rbac shop USER --intercept" in str(caught.value.hint)


async def test_who_may_not_see_namespaces_has_an_empty_list(
    store: ObjectStore, place: once.ClusterRef, records: Records
) -> None:
    store.forbidden.add("get namespaces")
    assert (await asyncio.to_thread(once.services, place, records, lambda _: None))["services"] == []
