"""Messages are those of a real API server (1.36) unless a comment says otherwise."""

from typing import Any

import pytest
import yaml

from ktpy.errors import (
    ApiRefused,
    ApiUnreachable,
    Forbidden,
    KtpyError,
    NamespaceAbsent,
    PodSecurityRefused,
    QuotaExceeded,
    Unauthorized,
)
from ktpy.kube.refusals import (
    Action,
    Conflict,
    Gone,
    NeverSent,
    NotFound,
    Unavailable,
    admission_refusal,
    may_be_done,
    refusal,
)

CREATE_JOB = Action("create", "batch", "jobs", "shop")


def status(message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "message": message, "details": details}


@pytest.mark.parametrize(
    ("method", "path", "query", "action"),
    [
        ("GET", "/api/v1/services", {}, Action("list", "", "services", None)),
        ("GET", "/api/v1/services", {"watch": "true"}, Action("watch", "", "services", None)),
        ("GET", "/api/v1/namespaces/shop/pods", {}, Action("list", "", "pods", "shop")),
        ("GET", "/api/v1/namespaces/shop/pods/web-0", {}, Action("get", "", "pods", "shop")),
        ("GET", "/api/v1/namespaces/shop/pods/web-0/log", {}, Action("get", "", "pods/log", "shop")),
        ("POST", "/apis/batch/v1/namespaces/shop/jobs", {}, CREATE_JOB),
        ("PATCH", "/apis/batch/v1/namespaces/shop/jobs/x", {}, Action("patch", "batch", "jobs", "shop")),
        ("DELETE", "/apis/batch/v1/namespaces/shop/jobs/x", {}, Action("delete", "batch", "jobs", "shop")),
        ("GET", "/api/v1/namespaces", {}, Action("list", "", "namespaces", None)),
        ("GET", "/api/v1/namespaces/shop", {}, Action("get", "", "namespaces", None)),
        ("GET", "/version", {}, Action("get", "", "/version", None)),
    ],
)
def test_action_of_a_request(method: str, path: str, query: dict[str, str], action: Action) -> None:
    assert Action.of(method, path, query) == action


def test_rbac_names_verb_resource_namespace_and_the_missing_rule() -> None:
    message = (
        'jobs.batch is forbidden: User "al" cannot create resource "jobs" in API group "batch" in the namespace "shop"'
    )
    error = refusal(403, status(message), CREATE_JOB, "al")
    assert isinstance(error, Forbidden)
    assert error.message == "al may not create jobs.batch in namespace shop."
    assert error.hint is not None
    assert error.hint.startswith("Ask for this rule in a Role in namespace shop")
    rule = yaml.safe_load(error.hint.partition("\n")[2])
    assert rule == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]


def test_rbac_for_the_whole_cluster_asks_for_a_cluster_role() -> None:
    message = 'nodes is forbidden: User "al" cannot list resource "nodes" in API group "" at the cluster scope'
    error = refusal(403, status(message), Action("list", "", "nodes", None), "al")
    assert error.message == "al may not list nodes in the whole cluster."
    assert "ClusterRole" in (error.hint or "")


QUOTA = (
    'pods "x" is forbidden: exceeded quota: q, requested: requests.memory=32Mi, used: 0, limited: requests.memory=1Mi'
)
QUOTA_WANTS_LIMITS = 'pods "x" is forbidden: failed quota: q: must specify limits.cpu for: agent'
LIMIT_RANGE = 'pods "x" is forbidden: maximum memory usage per Container is 100Mi, but limit is 512Mi'
POD_SECURITY = (
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (...)'
)
OPENSHIFT = 'pods "x" is forbidden: unable to validate against any security context constraint: [...]'
WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: resource Pod/shop/x was blocked'
POLICY = "ValidatingAdmissionPolicy 'images' with binding 'images' denied request: only our registry"
TERMINATING = (
    'jobs.batch "x" is forbidden: unable to create new content in namespace shop because it is being terminated'
)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (QUOTA, QuotaExceeded),
        (QUOTA_WANTS_LIMITS, QuotaExceeded),
        (LIMIT_RANGE, QuotaExceeded),
        (POD_SECURITY, PodSecurityRefused),
        (OPENSHIFT, PodSecurityRefused),
        (WEBHOOK, PodSecurityRefused),
        (POLICY, PodSecurityRefused),
        (TERMINATING, NamespaceAbsent),
    ],
)
def test_admission(message: str, kind: type[KtpyError]) -> None:
    error = refusal(403, status(message), CREATE_JOB)
    assert type(error) is kind
    assert message in error.message  # the cluster's own words stay


def test_admission_does_not_take_rbac_for_its_own() -> None:
    assert admission_refusal('User "al" cannot create resource "pods"') is None


@pytest.mark.parametrize(
    ("http_status", "kind"),
    [(404, NotFound), (409, Conflict), (410, Gone), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
def test_other_refusals_have_classes_callers_can_catch(http_status: int, kind: type[KtpyError]) -> None:
    assert type(refusal(http_status, status("no"), CREATE_JOB)) is kind


def test_a_refusal_without_a_class_of_its_own() -> None:
    error = refusal(422, status("spec.template: field is immutable"), Action("patch", "batch", "jobs", "shop"))
    assert type(error) is ApiRefused
    assert error.message == (
        "The API server refuses to patch jobs.batch in namespace shop: spec.template: field is immutable."
    )


def test_403_of_something_else_than_rbac_keeps_its_words() -> None:
    error = refusal(403, status("this API is not enabled for your plan"), CREATE_JOB)
    assert type(error) is ApiRefused
    assert "not enabled for your plan" in error.message


def test_an_absent_namespace() -> None:
    error = refusal(404, status('namespaces "shop" not found', kind="namespaces", name="shop"), CREATE_JOB)
    assert isinstance(error, NamespaceAbsent)
    assert "shop" in error.message


def test_401_names_the_user() -> None:
    error = refusal(401, status("Unauthorized"), CREATE_JOB, "al")
    assert isinstance(error, Unauthorized)
    assert "al" in error.message


def test_an_anonymous_403_is_about_credentials() -> None:
    message = 'jobs.batch is forbidden: User "system:anonymous" cannot create resource "jobs" in API group "batch"'
    assert isinstance(refusal(403, status(message), CREATE_JOB), Unauthorized)


def test_an_answer_without_a_status_object() -> None:
    assert "HTTP 502" in refusal(502, {}, CREATE_JOB).message


def test_only_an_answer_that_was_lost_leaves_open_whether_it_was_done() -> None:
    assert may_be_done(ApiUnreachable("lost"))
    assert not may_be_done(NeverSent("no connection"))
    assert not may_be_done(Forbidden("no"))
