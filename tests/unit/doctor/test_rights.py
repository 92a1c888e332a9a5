import pytest

from ktpy.cluster import rbac
from ktpy.cluster.missing_rights import ACCESS_REVIEWS, REVIEWS
from ktpy.doctor.finding import State
from ktpy.doctor.rights import rights
from ktpy.kube.client import Api
from tests.unit.kube.api_stub import Answer, ApiStub

USER = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def granting(*rules: dict[str, list[str]], incomplete: bool = False) -> Answer:
    return Answer({"status": {"resourceRules": list(rules), "incomplete": incomplete}})


@pytest.fixture
def stub(stub: ApiStub) -> ApiStub:
    stub.script(f"POST {USER}", Answer({"status": {"userInfo": {"username": "alice@example.org"}}}))
    return stub


async def test_whoever_may_do_all_lacks_nothing(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {REVIEWS}", granting({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}))
    found = await rights(api, ["dev"])
    assert [(one.subject, one.state) for one in found] == [
        (f"rights for {use}", State.OK) for use in ("connect", "intercept", "run", "dev")
    ]


async def test_what_is_missing_is_told_as_rules_with_the_command_that_grants_it(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {REVIEWS}", granting(*(rule.document() for rule in rbac.CONNECT)))
    connect, intercept, run, dev = await rights(api, ["intercept"])
    assert (connect.state, intercept.state, run.state, dev.state) == (
        State.OK,
        State.FAILED,
        State.WARNING,
        State.WARNING,
    )
    lines = run.seen.splitlines()
    assert lines[0] == "Missing:"
    assert lines[1] == '- {apiGroups: ["apps"], resources: ["deployments"], verbs: ["get"]}'
    assert run.mend == "ktpy rbac shop alice@example.org --run | kubectl apply -f -"
    assert "pods/portforward" not in dev.seen


async def test_where_another_authorizer_decides_too_each_right_is_asked_for(stub: ApiStub, api: Api) -> None:
    stub.script(f"POST {REVIEWS}", granting(incomplete=True))
    stub.script(f"POST {ACCESS_REVIEWS}", Answer({"status": {"allowed": False}}), Answer({"status": {"allowed": True}}))
    connect, *others = await rights(api, ["connect"])
    assert connect.state is State.FAILED
    assert connect.seen == 'Missing:\n- {apiGroups: ["batch"], resources: ["jobs"], verbs: ["create"]}'
    assert [one.state for one in others] == [State.OK] * 3
    asked = [one.body["spec"]["resourceAttributes"] for one in stub.asked_for(f"POST {ACCESS_REVIEWS}")]
    forward = {"namespace": "shop", "verb": "get", "group": "", "resource": "pods", "subresource": "portforward"}
    assert forward in asked
