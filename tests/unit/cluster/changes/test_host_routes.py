import pytest

from ktpy.cluster.changes.host_routes import host_routes
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.errors import TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.cluster.changes.host_route_cases import put_class
from tests.unit.kube.object_store import ObjectStore

HOST = "pay.example.org"


def of(api: Api, ingress_class: str | None = None, **hosts: str) -> list[str]:
    options = InterceptOptions("preview", "pay", (), ingress_class=ingress_class, **hosts)  # type: ignore[arg-type]
    return [one.name for one in host_routes(api, options)]


async def ingress(api: Api, ingress_class: str | None = None) -> Json:
    """The spec of the one that is made."""
    options = InterceptOptions("preview", "pay", (), ingress_host=HOST, ingress_class=ingress_class)
    [route] = host_routes(api, options)
    await route.choose()
    spec: Json = route.document({"name": "pay"}, 8080)["spec"]
    return spec


def test_what_is_made_is_what_was_asked_for(store_api: Api) -> None:
    assert of(store_api) == []
    assert of(store_api, ingress_host=HOST) == ["ingress"]
    assert of(store_api, gateway_route_host=HOST) == ["HTTPRoute"]
    assert of(store_api, gateway_route_host=HOST, ingress_host=HOST) == ["ingress", "HTTPRoute"]


async def test_the_only_class_is_named(store: ObjectStore, store_api: Api) -> None:
    put_class(store, "nginx")
    spec = await ingress(store_api)
    assert spec["ingressClassName"] == "nginx"
    [rule] = spec["rules"]
    assert rule["host"] == HOST
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "pay", "port": {"number": 8080}}}


async def test_the_default_class_need_not_be(store: ObjectStore, store_api: Api) -> None:
    put_class(store, "nginx")
    put_class(store, "other", **{"ingressclass.kubernetes.io/is-default-class": "true"})
    assert "ingressClassName" not in await ingress(store_api)


@pytest.mark.parametrize(
    ("classes", "words"),
    [([], "has no ingress class"), (["nginx", "other"], "several ingress classes and no default: nginx, other")],
)
async def test_no_class_to_choose(store: ObjectStore, store_api: Api, classes: list[str], words: str) -> None:
    for name in classes:
        put_class(store, name)
    with pytest.raises(TargetUnsuitable, match=words):
        await ingress(store_api)


async def test_a_class_that_is_named_is_not_looked_for(store_api: Api) -> None:
    assert (await ingress(store_api, "inner"))["ingressClassName"] == "inner"


async def test_who_may_not_see_classes_leaves_it_to_the_cluster(store: ObjectStore, store_api: Api) -> None:
    store.forbidden.add("list ingressclasses")
    assert "ingressClassName" not in await ingress(store_api)
