import asyncio
from collections.abc import Iterable

import pytest
import yaml

from ktpy.cluster import rbac
from ktpy.cluster.missing_rights import REVIEWS, naming_all_missing, with_all_missing
from ktpy.errors import Forbidden, LinkLost
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import RightMissing
from ktpy.kube.rights import Rule
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
USER = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ALL = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


@pytest.fixture
def stub(stub: ApiStub) -> ApiStub:
    stub.script(f"GET {JOBS}", forbidding())
    stub.script("GET /api/v1/nodes", forbidding())
    stub.script(f"POST {USER}", Answer({"status": {"userInfo": {"username": "alice@example.org"}}}))
    return stub


def reviewed(granted: Iterable[Json], *, incomplete: bool = False) -> Answer:
    return Answer({"status": {"resourceRules": list(granted), "incomplete": incomplete}})


async def denial(api: Api, needed: Iterable[Rule] = rbac.CONNECT, path: str = JOBS) -> Forbidden:
    with pytest.raises(Forbidden) as caught:
        async with naming_all_missing(api, needed):
            await api.request("GET", path)
    return caught.value


def asked(error: Forbidden) -> dict[str, set[str]]:
    """Verbs by resource."""
    rules = [line for line in str(error.hint).splitlines() if line.startswith("- ")]
    return {rule["resources"][0]: set(rule["verbs"]) for rule in yaml.safe_load("\n".join(rules))}


async def test_one_refusal_names_all_that_is_missing(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {REVIEWS}", reviewed([]))
    error = await denial(api)
    assert error.message == "al may not list jobs.batch in namespace shop."
    needed = {rule.resource: set(rule.verbs) for rule in rbac.CONNECT}
    assert asked(error) == needed | {"jobs": needed["jobs"] | {"list"}}
    assert [request.body["spec"] for request in stub.asked_for(f"POST {REVIEWS}")] == [{"namespace": "shop"}]


async def test_what_is_granted_is_not_asked_for(stub: ApiStub, api: Api) -> None:
    granted = [
        {"apiGroups": ["batch", "apps"], "resources": ["jobs"], "verbs": ["create", "get", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["*/portforward"], "verbs": ["*"]},
        {"apiGroups": ["*"], "resources": ["endpointslices", "services"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"], "resourceNames": ["web-0"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    stub.script(f"POST {REVIEWS}", reviewed(granted))
    assert asked(await denial(api)) == {
        "jobs": {"list"},
        "pods": {"get", "list", "watch"},
        "services": {"watch"},
        "endpointslices": {"watch"},
    }


@pytest.mark.parametrize(
    "answer", [forbidding(), reviewed([], incomplete=True), reviewed(ALL)], ids=["refused", "incomplete", "disagrees"]
)
async def test_without_a_review_it_is_the_one_that_was_refused(stub: ApiStub, api: Api, answer: Answer) -> None:
    stub.script(f"POST {REVIEWS}", answer)
    assert asked(await denial(api)) == {"jobs": {"list"}}


async def test_a_right_in_the_whole_cluster_is_asked_for_alone(stub: ApiStub, api: Api) -> None:
    error = await denial(api, path="/api/v1/nodes")
    assert asked(error) == {"nodes": {"list"}}
    assert "ClusterRole" in str(error.hint)
    assert stub.asked_for(f"POST {REVIEWS}") == []


@pytest.mark.parametrize(("needed", "options"), [(rbac.CONNECT, ""), (rbac.INTERCEPT, " --intercept")])
async def test_it_ends_with_what_an_administrator_types(
    stub: ApiStub, api: Api, needed: tuple[Rule, ...], options: str
) -> None:
    last = str((await denial(api, needed)).hint).splitlines()[-1]
    assert last.endswith(f" ktpy rbac shop alice@example.org{options} | kubectl apply -f -")


async def test_whom_the_api_server_does_not_name_the_administrator_fills_in(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {REVIEWS}", reviewed([]))
    stub.script(f"POST {USER}", forbidding())
    await api.request("POST", USER)  # the answer that names the user
    error = await denial(api)
    assert "ktpy rbac shop USER " in str(error.hint)
    assert len(asked(error)) == len(rbac.CONNECT)


async def test_a_denial_among_tasks_is_completed_as_well(stub: ApiStub, api: Api) -> None:
    with pytest.raises(RightMissing, match="may not list jobs") as caught:
        async with naming_all_missing(api, rbac.CONNECT), asyncio.TaskGroup() as tasks:
            tasks.create_task(api.request("GET", JOBS))
    assert "ktpy rbac shop" in str(caught.value.hint)


async def test_other_failures_pass(api: Api) -> None:
    with pytest.raises(LinkLost):
        async with naming_all_missing(api, rbac.CONNECT):
            raise LinkLost("lost")
    lost = LinkLost("lost")
    assert await with_all_missing(api, lost, rbac.CONNECT) is lost
