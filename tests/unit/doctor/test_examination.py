import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ktpy.doctor import cluster, examination, network
from ktpy.doctor.examination import Wanted, examine
from ktpy.doctor.finding import Finding, State
from ktpy.errors import ApiUnreachable, ContextUnknown
from ktpy.kube.client import Api

OK = State.OK


def fine(subject: str) -> Finding:
    return Finding(subject, OK, "fine")


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that find nothing."""

    async def server(_: Api) -> tuple[Finding, ...]:
        return fine("API server"), fine("clock")

    async def one(_: Api) -> Finding:
        return fine("namespace")

    async def rights(_api: Api, _wanted: object) -> list[Finding]:
        return [fine("rights")]

    async def round_trip(_: Api) -> Finding:
        return fine("round trip")

    async def admission(_api: Api, _image: str, _overlay: object) -> list[Finding]:
        return [fine("admission")]

    monkeypatch.setattr(cluster, "server", server)
    monkeypatch.setattr(network, "round_trip", round_trip)
    monkeypatch.setattr(examination, "rights", rights)
    monkeypatch.setattr(examination, "admission", admission)
    monkeypatch.setattr(examination, "_LAPTOP", {"laptop": lambda: fine("laptop")})
    monkeypatch.setattr(examination, "_CLUSTER", {"namespace": one})


async def states(api: Api, try_pod: Callable[[Api], Awaitable[Finding]] | None = None) -> dict[str, State]:
    async def load() -> Api:
        return api

    return {one.subject: one.state async for one in examine(load, dict, Wanted("agent:1", try_pod=try_pod))}


async def test_all_is_looked_at_in_order(api: Api) -> None:
    assert await states(api) == {
        "laptop": OK,
        "kubeconfig": OK,
        "credentials": OK,
        "API server": OK,
        "clock": OK,
        "round trip": OK,
        "rights": OK,
        "admission": OK,
        "namespace": OK,
        "image": State.NOT_MADE,
    }


async def test_a_pod_is_started_only_where_it_is_wanted_and_may_take_long(api: Api) -> None:
    async def try_pod(_: Api) -> Finding:
        await asyncio.sleep(2 * examination.CHECK_TIMEOUT_S)
        return fine("pod")

    found = await states(api, try_pod)
    assert (found["pod"], "image" in found) == (OK, False)


async def test_without_a_kubeconfig_the_laptop_is_looked_at() -> None:
    async def load() -> Api:
        raise ContextUnknown("The kubeconfig has no context x.", hint="Choose.")

    laptop, kubeconfig, rest = [one async for one in examine(load, dict, Wanted("agent:1"))]
    assert laptop.state is OK
    assert kubeconfig == Finding("kubeconfig", State.FAILED, "The kubeconfig has no context x.", "Choose.")
    assert rest.seen.endswith("were not looked at: there is no cluster to ask.")


async def test_nothing_more_is_asked_of_an_api_server_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: Api) -> tuple[Finding, ...]:
        raise ApiUnreachable("It is away.")

    monkeypatch.setattr(cluster, "server", away)
    assert await states(api) == {
        "laptop": OK,
        "kubeconfig": OK,
        "credentials": OK,
        "API server": State.FAILED,
        "cluster": State.NOT_MADE,
    }


async def test_a_check_that_takes_too_long_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Api) -> Finding:
        await asyncio.Event().wait()
        return fine("namespace")

    monkeypatch.setattr(examination, "_CLUSTER", {"namespace": hang})
    assert (await states(api))["namespace"] is State.NOT_MADE


async def test_a_check_that_breaks_hides_no_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise OSError("no such thing")

    monkeypatch.setattr(examination, "_LAPTOP", {"laptop": broken})
    found = await states(api)
    assert (found["laptop"], found["namespace"]) == (State.NOT_MADE, OK)
