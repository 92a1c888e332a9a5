from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from ktpy.doctor import cluster
from ktpy.doctor.finding import State
from ktpy.errors import ApiUnreachable
from ktpy.kube.client import Api
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding

NAMESPACE, QUOTAS = "/api/v1/namespaces/shop", "/api/v1/namespaces/shop/resourcequotas"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"


@pytest.mark.parametrize(
    ("skew_s", "state", "seen"),
    [
        (0, State.OK, "This laptop's clock and the API server's agree."),
        (-300, State.WARNING, "s ahead of the API server's; credentials may seem expired."),
        (300, State.WARNING, "s behind the API server's; credentials may seem expired."),
    ],
)
async def test_the_api_server_tells_version_and_time(
    stub: ApiStub, api: Api, skew_s: float, state: State, seen: str
) -> None:
    now = format_datetime(datetime.now(UTC) + timedelta(seconds=skew_s), usegmt=True)
    stub.script("GET /version", Answer({"gitVersion": "v1.36.3"}, headers={"Date": now}))
    server, clock = await cluster.server(api)
    assert server.state is State.OK
    assert server.seen.startswith(f"Kubernetes v1.36.3 at {stub.url} answers in ")
    assert clock.state is state
    assert clock.seen.endswith(seen)


async def test_a_version_that_is_too_old_or_new_is_told(stub: ApiStub, api: Api) -> None:
    date = {"Date": format_datetime(datetime.now(UTC), usegmt=True)}
    stub.script("GET /version", *(Answer({"gitVersion": f"v1.{minor}.1"}, headers=date) for minor in ("25", "40")))
    (_, old, _), (_, new, _) = await cluster.server(api), await cluster.server(api)
    assert (old.state, old.seen) == (
        State.WARNING,
        "v1.25.1 is older than 1.26, the oldest that has all that ktpy asks for.",
    )
    assert (new.state, new.seen.startswith("v1.40.1 is newer than 1.37, ")) == (State.OK, True)


async def test_an_api_server_that_is_away(stub: ApiStub, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> Any:
        raise ApiUnreachable("It is away.")

    monkeypatch.setattr(api, "dated", away)
    with pytest.raises(ApiUnreachable):
        await cluster.server(api)


@pytest.mark.parametrize(
    ("answer", "state", "seen"),
    [
        (
            Answer({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
            State.OK,
            "shop is there, and enforces Pod Security restricted; ktpy's own pods keep to restricted.",
        ),
        (Answer({"metadata": {}}), State.OK, "shop is there, with no Pod Security."),
        (None, State.FAILED, "Namespace shop does not exist."),
        (forbidding(), State.NOT_MADE, "al may not get namespaces"),
    ],
)
async def test_the_namespace(stub: ApiStub, api: Api, answer: Answer | None, state: State, seen: str) -> None:
    if answer:
        stub.script(f"GET {NAMESPACE}", answer)
    found = await cluster.namespace(api)
    assert found.state is state
    assert found.seen.startswith(seen)


def quotas(hard: str = "3", **used: str) -> Answer:
    status = {"hard": {"pods": hard, "requests.cpu": "4", "count/jobs.batch": "2"}, "used": used}
    return Answer({"items": [{"metadata": {"name": "team"}, "status": status}]})


@pytest.mark.parametrize(
    ("answer", "state", "seen"),
    [
        (Answer({"items": []}), State.OK, "There is room for one more pod, as far as pods are counted."),
        (quotas(pods="2"), State.OK, "There is room for one more pod, as far as pods are counted."),
        (quotas(pods="3"), State.FAILED, "There is no room for ktpy's pod: quota team has 3 of 3 pods."),
        (quotas("1500", pods="1k"), State.OK, "There is room for one more pod, as far as pods are counted."),
        (quotas("1k", pods="1k"), State.FAILED, "There is no room for ktpy's pod: quota team has 1k of 1k pods."),
        (
            quotas(**{"pods": "4", "count/jobs.batch": "2"}),
            State.FAILED,
            "There is no room for ktpy's pod: quota team has 4 of 3 pods, quota team has 2 of 2 count/jobs.batch.",
        ),
        (forbidding(), State.NOT_MADE, "al may not list resourcequotas in namespace shop."),
    ],
)
async def test_quotas(stub: ApiStub, api: Api, answer: Answer, state: State, seen: str) -> None:
    stub.script(f"GET {QUOTAS}", answer)
    found = await cluster.quota(api)
    assert (found.state, found.seen) == (state, seen)


async def test_policies(stub: ApiStub, api: Api) -> None:
    deny = {"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    some, none = Answer({"items": [deny]}), Answer({"items": []})
    stub.script(f"GET {POLICIES}", some, some, none, none, forbidding())
    [found] = await cluster.policies(api)
    assert found.state is State.WARNING
    assert found.seen.startswith("NetworkPolicy deny may keep ktpy's pod from the cluster")
    assert [one.state for one in await cluster.policies(api)] == [State.OK]
    assert [one.state for one in await cluster.policies(api)] == [State.NOT_MADE]


def test_the_image_is_not_judged() -> None:
    assert cluster.image("agent:1").state is State.NOT_MADE
