import pytest

from ktpy.kube.refusals import Action
from ktpy.kube.resources import DEPLOYMENTS, PODS, SERVICE_CIDRS, SERVICES, Resource


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (SERVICES.path(), "/api/v1/services"),
        (SERVICES.path("shop"), "/api/v1/namespaces/shop/services"),
        (SERVICES.path("shop", "web"), "/api/v1/namespaces/shop/services/web"),
        (PODS.path("shop", "web-0", "log"), "/api/v1/namespaces/shop/pods/web-0/log"),
        (DEPLOYMENTS.path(), "/apis/apps/v1/deployments"),
        (DEPLOYMENTS.path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web"),
        (SERVICE_CIDRS[1].path(), "/apis/networking.k8s.io/v1beta1/servicecidrs"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("resource", [SERVICES, DEPLOYMENTS, *SERVICE_CIDRS])
def test_a_path_names_the_resource_that_refusals_read_from_it(resource: Resource) -> None:
    assert Action.of("GET", resource.path("shop")) == Action("list", resource.group, resource.plural, "shop")
