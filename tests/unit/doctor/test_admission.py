from typing import Any

import pytest

from ktpy.doctor.admission import admission, refused_by
from ktpy.doctor.finding import State
from ktpy.errors import PodSecurityRefused, QuotaExceeded
from ktpy.kube.client import Api
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, refused

PODS, LIMITS = "/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/limitranges"
OF_KTPY = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}


def limits(kind: str = "Container", **bounds: Any) -> dict[str, Any]:
    return {"metadata": {"name": "team"}, "spec": {"limits": [{"type": kind, **bounds}]}}


async def test_a_dry_run_asks_all_that_has_a_say(stub: ApiStub, api: Api) -> None:
    warned = {"Warning": '299 - "would violate PodSecurity"'}
    stub.script(f"POST {PODS}", Answer({}, 201), Answer({}, 201, warned))
    [fine] = await admission(api, "agent:1", {})
    _, warning = await admission(api, "agent:1", {"spec": {"priorityClassName": "low"}})
    assert (fine.state, warning.state) == (State.OK, State.WARNING)
    assert warning.seen == "The API server warns: would violate PodSecurity."
    asked, overlaid = stub.asked_for(f"POST {PODS}")
    assert overlaid.body["spec"]["priorityClassName"] == "low"
    assert (asked.query, asked.body["kind"]) == ({"dryRun": "All"}, "Pod")
    assert asked.body["spec"]["containers"][0]["image"] == "agent:1"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": a reason', PodSecurityRefused),
        ('pods "x" is forbidden: exceeded quota: team, requested: pods=1', QuotaExceeded),
        ('pods "x" is forbidden: maximum memory usage per Container is 64Mi, but limit is 512Mi', QuotaExceeded),
    ],
)
async def test_a_refusal_is_what_connect_would_meet(stub: ApiStub, api: Api, message: str, error: type) -> None:
    stub.script(f"POST {PODS}", Answer(refused(403, message), 403))
    with pytest.raises(error):
        await admission(api, "agent:1", {})


async def test_a_webhook_that_knows_no_dry_run_decides_nothing(stub: ApiStub, api: Api) -> None:
    message = 'admission webhook "x" does not support dry run'
    stub.script(f"POST {PODS}", Answer(refused(400, message), 400), Answer(refused(400, "It is malformed."), 400))
    assert [one.state for one in await admission(api, "i", {}) + await admission(api, "i", {})] == [
        State.NOT_MADE,
        State.FAILED,
    ]


async def test_who_may_make_no_pods_is_told_of_limits(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {PODS}", forbidding())
    small = limits(max={"memory": "64Mi"})
    stub.script(f"GET {LIMITS}", Answer({"items": []}), Answer({"items": [small]}), forbidding())
    found = [*await admission(api, "i", {}), *await admission(api, "i", {}), *await admission(api, "i", {})]
    assert [one.state for one in found] == [State.OK, State.FAILED, State.NOT_MADE]
    assert found[1].seen == "Limits would refuse ktpy's pod: LimitRange team (max of memory per Container: 64Mi)."


@pytest.mark.parametrize(
    ("limit_range", "refuses"),
    [
        (limits(), []),
        (limits(max={"memory": "512Mi"}, min={"memory": "32Mi", "cpu": "10m"}), []),
        (limits(min={"memory": "64Mi"}), ["min of memory"]),
        (limits(min={"ephemeral-storage": "1Mi"}), ["min of ephemeral-storage"]),
        (limits(max={"cpu": "1"}), ["max of cpu"]),  # it has no limit of CPU
        (limits(max={"cpu": "1"}, default={"cpu": "500m"}), []),
        (limits(default={"cpu": "5m"}), ["default of cpu"]),
        (limits("Pod", max={"memory": "256Mi"}), ["max of memory"]),
        (limits(maxLimitRequestRatio={"memory": "4"}), ["maxLimitRequestRatio of memory"]),
        (limits(maxLimitRequestRatio={"memory": "16"}), []),
        (limits("PersistentVolumeClaim", max={"storage": "1Gi"}), []),
    ],
)
def test_limits(limit_range: dict[str, Any], refuses: list[str]) -> None:
    found = refused_by([limit_range], OF_KTPY)
    assert [one.partition("(")[2].partition(" per ")[0] for one in found] == refuses
