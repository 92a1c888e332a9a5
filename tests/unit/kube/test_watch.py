"""Watches against a scripted API server: what is told, and what is waited for."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from ktpy.aio.retry import Backoff
from ktpy.errors import ApiUnreachable, Forbidden, Unauthorized
from ktpy.kube.client import Api
from ktpy.kube.watch import Delete, Synced, Upsert, WatchEvent, list_all, watch, watch_object
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, listed, refused, refusing, watched

PATH = "/api/v1/services"


def service(name: str, version: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "resourceVersion": version, **metadata}}


def bookmark(version: str) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"resourceVersion": version}}


class Pauses:
    """Stands in for sleep: notes how long, and goes on at once."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, pause_s: float) -> None:
        self.taken.append(pause_s)
        await asyncio.sleep(0)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


async def told(api: Api, count: int, pauses: Pauses | None = None, **selectors: Any) -> list[WatchEvent]:
    """The first `count` events."""
    events: list[WatchEvent] = []
    backoff = Backoff(sleep=pauses) if pauses else None
    async with asyncio.timeout(5), aclosing(watch(api, PATH, backoff=backoff, **selectors)) as watching:
        async for event in watching:
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_what_is_there_then_synced_then_changes(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed(service("a", "1"), service("b", "2"), version="5"))
    stub.script(
        f"WATCH {PATH}",
        watched(("ADDED", service("c", "6")), ("MODIFIED", service("a", "7")), ("DELETED", service("b", "8"))),
    )
    assert await told(api, 6) == [
        Upsert(service("a", "1")),
        Upsert(service("b", "2")),
        Synced(),
        Upsert(service("c", "6")),
        Upsert(service("a", "7")),
        Delete(service("b", "8")),
    ]
    [asked] = stub.asked_for(f"WATCH {PATH}")
    assert asked.query["resourceVersion"] == "5"
    assert asked.query["allowWatchBookmarks"] == "true"


async def test_selectors_reach_list_and_watch(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed())
    stub.script(f"WATCH {PATH}", watched(("ADDED", service("a", "2"))))
    await told(api, 2, labels="app=web", fields="metadata.name=a")
    assert [asked.query["labelSelector"] for asked in stub.asked] == ["app=web"] * 2
    assert [asked.query["fieldSelector"] for asked in stub.asked] == ["metadata.name=a"] * 2


async def test_a_list_of_several_pages(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed(service("a", "1"), more="next"), listed(service("b", "2"), version="9"))
    stub.script(f"WATCH {PATH}", watched())
    assert await told(api, 3) == [Upsert(service("a", "1")), Upsert(service("b", "2")), Synced()]
    assert [asked.query.get("continue") for asked in stub.asked_for(f"GET {PATH}")] == [None, "next"]


async def test_a_list_that_expires_between_pages_begins_again(stub: ApiStub, api: Api) -> None:
    stub.script(
        f"GET {PATH}", listed(service("a", "1"), more="next"), refusing(410, "expired"), listed(service("a", "1"))
    )
    assert await told(api, 2) == [Upsert(service("a", "1")), Synced()]


async def test_managed_fields_and_kubectls_copy_are_dropped(stub: ApiStub, api: Api) -> None:
    last_applied = "kubectl.kubernetes.io/last-applied-configuration"
    heavy = service("a", "1", managedFields=[{}], annotations={last_applied: "{}", "kept": "yes"})
    stub.script(f"GET {PATH}", listed(heavy))
    stub.script(f"WATCH {PATH}", watched(("DELETED", heavy)))
    slim = service("a", "1", annotations={"kept": "yes"})
    assert await told(api, 3) == [Upsert(slim), Synced(), Delete(slim)]


async def test_a_watch_that_the_server_ends_goes_on_from_its_bookmark(stub: ApiStub, api: Api, pauses: Pauses) -> None:
    stub.script(f"GET {PATH}", listed(version="1"))
    stub.script(
        f"WATCH {PATH}", watched(("BOOKMARK", bookmark("40")), is_endless=False), watched(("ADDED", service("a", "41")))
    )
    assert await told(api, 2, pauses) == [Synced(), Upsert(service("a", "41"))]
    assert [asked.query["resourceVersion"] for asked in stub.asked_for(f"WATCH {PATH}")] == ["1", "40"]


async def test_an_expired_version_is_answered_by_a_list_of_which_only_differences_are_told(
    stub: ApiStub, api: Api, pauses: Pauses
) -> None:
    stub.script(
        f"GET {PATH}",
        listed(service("same", "1"), service("changed", "1"), service("gone", "1")),
        listed(service("same", "1"), service("changed", "7"), service("new", "8"), version="9"),
    )
    stub.script(f"WATCH {PATH}", watched(("ERROR", refused(410, "too old resource version"))), watched())
    events = await told(api, 8, pauses)
    assert events[4:] == [
        Upsert(service("changed", "7")),
        Upsert(service("new", "8")),
        Delete({"metadata": {"namespace": "shop", "name": "gone"}}),
        Synced(),
    ]


async def test_410_as_the_answer_to_the_watch_relists_too(stub: ApiStub, api: Api, pauses: Pauses) -> None:
    stub.script(f"GET {PATH}", listed(), listed(service("a", "3")))
    stub.script(f"WATCH {PATH}", refusing(410, "too old"), watched())
    assert await told(api, 3, pauses) == [Synced(), Upsert(service("a", "3")), Synced()]


async def test_a_server_in_trouble_is_waited_for_ever_longer(stub: ApiStub, api: Api, pauses: Pauses) -> None:
    stub.script(f"GET {PATH}", listed())
    troubles = [refusing(500, "etcd is down")] * 9
    stub.script(f"WATCH {PATH}", *troubles, watched(("ADDED", service("a", "2"))))
    assert await told(api, 2, pauses) == [Synced(), Upsert(service("a", "2"))]
    assert len(pauses.taken) == 9
    assert all(0.1 <= pause <= 15 for pause in pauses.taken)
    assert pauses.taken[-1] >= 7.5


async def test_the_pause_is_short_again_after_an_event(stub: ApiStub, api: Api, pauses: Pauses) -> None:
    stub.script(f"GET {PATH}", listed())
    trouble = refusing(500, "etcd is down")
    one = watched(("ADDED", service("a", "2")), is_endless=False)
    stub.script(f"WATCH {PATH}", *[trouble] * 6, one, watched(("ADDED", service("b", "3"))))
    await told(api, 3, pauses)
    assert pauses.taken[-1] <= 0.2


async def test_the_patient_wait_for_the_first_list_too(stub: ApiStub, api: Api, pauses: Pauses) -> None:
    stub.script(f"GET {PATH}", refusing(500, "etcd is down"), listed(service("a", "1")))
    async with aclosing(watch(api, PATH, backoff=Backoff(sleep=pauses), is_patient=True)) as events:
        assert isinstance(await anext(events), Upsert)
    assert len(pauses.taken) == 1


async def test_the_first_list_must_succeed(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", refusing(500, "etcd is down"))
    with pytest.raises(ApiUnreachable):
        await told(api, 1)


@pytest.mark.parametrize("is_listed", [True, False])
async def test_forbidden_is_the_callers(stub: ApiStub, api: Api, is_listed: bool) -> None:
    stub.script(f"GET {PATH}", listed() if is_listed else forbidding())
    stub.script(f"WATCH {PATH}", forbidding())
    with pytest.raises(Forbidden):
        await told(api, 2)


@pytest.mark.parametrize("no", [refusing(401, "expired"), forbidding()])
async def test_rights_that_are_taken_away_may_come_back(stub: ApiStub, api: Api, pauses: Pauses, no: Answer) -> None:
    """Credentials expire, and somebody logs in again: a watch that has stood waits for it."""
    stub.script(f"GET {PATH}", listed(), no, listed(service("a", "3"), version="3"))
    stub.script(f"WATCH {PATH}", watched(is_endless=False), no, refusing(410, "too old"), watched())
    assert await told(api, 3, pauses) == [Synced(), Upsert(service("a", "3")), Synced()]


async def test_a_watch_goes_on_over_another_connection_when_its_own_is_dropped(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed())
    stub.script(f"WATCH {PATH}", watched(("ADDED", service("a", "2"))), watched(("ADDED", service("b", "3"))))
    async with asyncio.timeout(5), aclosing(watch(api, PATH)) as watching:
        assert [await anext(watching) for _ in range(2)] == [Synced(), Upsert(service("a", "2"))]
        following = asyncio.create_task(anext(watching))
        await asyncio.sleep(0)  # it reads
        await api.drop_connections()
        assert await following == Upsert(service("b", "3"))
    assert [asked.query["resourceVersion"] for asked in stub.asked_for(f"WATCH {PATH}")] == ["1", "2"]


async def test_what_waits_goes_on_once_any_request_is_answered(stub: ApiStub, api: Api) -> None:
    """After an outage nothing waits for the rest of its pause."""
    stub.script("GET /version", refusing(401, "not now"))
    pause = asyncio.create_task(api.sleep(3600))
    with pytest.raises(Unauthorized):
        await api.request("GET", "/version")
    await asyncio.sleep(0.001)
    assert not pause.done()  # it was not away
    await api.drop_connections()
    with pytest.raises(Unauthorized):
        await api.request("GET", "/version")
    async with asyncio.timeout(5):
        await pause


async def test_leaving_closes_the_connection(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed())
    stub.script(f"WATCH {PATH}", watched(("ADDED", service("a", "2"))))
    await told(api, 2)
    assert not api._connections.in_use


async def test_list_all(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed(service("a", "1"), more="next"), listed(service("b", "2")))
    assert [item["metadata"]["name"] async for item in list_all(api, PATH)] == ["a", "b"]


async def test_an_empty_list_may_be_null(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", Answer({"metadata": {}, "items": None}))
    assert [item async for item in list_all(api, PATH)] == []


async def test_list_all_passes_its_selectors_on(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed(service("a", "1"), more="next"), listed())
    assert [item async for item in list_all(api, PATH, labels="app=web", fields="metadata.name=a")]
    for asked in stub.asked_for(f"GET {PATH}"):
        assert (asked.query["labelSelector"], asked.query["fieldSelector"]) == ("app=web", "metadata.name=a")


async def states(api: Api, count: int) -> list[str | None]:
    """The resource versions of the first `count` states of service a; None while it is absent."""
    told: list[str | None] = []
    async with asyncio.timeout(5), aclosing(watch_object(api, PATH, "a")) as watching:
        async for found in watching:
            told.append(found["metadata"]["resourceVersion"] if found is not None else None)
            if len(told) == count:
                break
    return told


async def test_one_object_is_told_after_each_change_and_as_none_when_it_is_deleted(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed(service("a", "1")))
    stub.script(f"WATCH {PATH}", watched(("DELETED", service("a", "2")), ("ADDED", service("a", "3"))))
    assert await states(api, 3) == ["1", None, "3"]
    assert stub.asked[0].query["fieldSelector"] == "metadata.name=a"


async def test_one_object_that_is_not_in_the_list_is_told_as_none(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PATH}", listed())
    stub.script(f"WATCH {PATH}", watched(("ADDED", service("a", "2"))))
    assert await states(api, 2) == [None, "2"]
