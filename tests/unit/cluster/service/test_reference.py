import pytest

from ktpy.cluster.service.reference import Reference


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("web", "service", "web"),
        ("service/web", "service", "web"),
        ("svc/web", "service", "web"),
        ("services/web", "service", "web"),
        ("deploy/web", "deployment", "web"),
        ("StatefulSet/web", "statefulset", "web"),
        ("po/web-0", "pod", "web-0"),
        ("pod/web.0", "pod", "web.0"),
        ("job/web", "job", "web"),
        ("rollouts/web", "rollouts", "web"),
    ],
)
def test_a_reference(text: str, kind: str, name: str) -> None:
    assert Reference.parse(text) == Reference(kind, name)


@pytest.mark.parametrize("text", ["web.shop", "svc/web.shop", "web.shop.svc", "web.shop.svc.cluster.local"])
def test_a_name_as_in_dns(text: str) -> None:
    assert Reference.parse(text) == Reference("service", "web", namespace="shop")


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("deployment.apps/web", "apps"),
        ("deployments.v1.apps/web", "apps"),
        ("deployment.v1.apps/web", "apps"),
        ("deployment.v1/web", ""),
    ],
)
def test_a_kind_with_its_group(text: str, group: str) -> None:
    reference = Reference.parse(text)
    assert reference == Reference("deployment", "web", group)
    assert reference.resource is not None
    assert reference.resource.path("shop") == "/apis/apps/v1/namespaces/shop/deployments"


@pytest.mark.parametrize("text", ["rollout/web", "deployment.example.org/web", "service.serving.knative.dev/web"])
def test_a_kind_that_the_api_server_has_to_be_asked_for(text: str) -> None:
    reference = Reference.parse(text)
    assert reference.resource is None
    assert str(reference) == text


@pytest.mark.parametrize("text", ["", "svc/", "/web", "a/b/c", "web.", ".shop", "Web", "web shop", "we_b"])
def test_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match="such as web or deployment/web"):
        Reference.parse(text)
