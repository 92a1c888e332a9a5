import pytest

from ktpy.cluster.pods.overlay import overlaid
from ktpy.cluster.service.service_mesh import membership_of, mesh_of, refuse_undecided
from ktpy.errors import TargetUnsuitable
from ktpy.kube.objects import Json


def pod(*sidecars: str, part: str = "containers", **labels: str) -> Json:
    return {"metadata": {"name": "web-1", "labels": labels}, "spec": {part: [{"name": name} for name in sidecars]}}


@pytest.mark.parametrize(
    ("found", "mesh"),
    [
        (pod("web", "istio-proxy"), "Istio"),
        (pod("istio-proxy", part="initContainers"), "Istio"),
        (pod("web", "linkerd-proxy"), "Linkerd"),
        (pod("web", "linkerd-init"), None),
        ({}, None),
    ],
)
def test_a_sidecar_tells_the_mesh(found: Json, mesh: str | None) -> None:
    assert mesh_of(found) == mesh


def test_who_has_not_decided_is_asked() -> None:
    refuse_undecided("web", pod("web"))
    with pytest.raises(TargetUnsuitable, match="mutual TLS") as refused:
        refuse_undecided("web", pod("web", "istio-proxy"))
    assert "--in-mesh" in (refused.value.hint or "")


def test_a_gateway_is_let_in_as_the_pods_were() -> None:
    """By what the pod itself says, and else by its namespace."""
    own: Json = {
        "metadata": {
            "labels": {"app": "gateway", "sidecar.istio.io/inject": "false"},
            "annotations": {"linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false"},
        }
    }
    original = pod("istio-proxy", **{"istio.io/rev": "canary"})
    assert overlaid(own, membership_of(original)) == {
        "metadata": {"labels": {"app": "gateway", "istio.io/rev": "canary"}, "annotations": {}}
    }
