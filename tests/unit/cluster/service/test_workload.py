from typing import Any

import pytest

from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import find_workload
from ktpy.errors import KtpyError, NamespaceAbsent, TargetAbsent, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.resources import Resource
from tests.unit.kube.object_store import DEPLOYMENTS, NAMESPACES, PODS, SERVICES, ObjectStore

STATEFUL_SETS = Resource("apps", "v1", "statefulsets").path("shop")
CRON_JOBS = Resource("batch", "v1", "cronjobs").path("shop")
SPEC: dict[str, Any] = {"containers": [{"name": "main"}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": SPEC}


def put(store: ObjectStore, path: str, name: str, **spec: Any) -> None:
    store.put(path, {"metadata": {"name": name}, "spec": spec})


@pytest.fixture
def shop(store: ObjectStore) -> ObjectStore:
    store.put(NAMESPACES, {"metadata": {"name": "shop"}})
    put(store, DEPLOYMENTS, "web", template=TEMPLATE)
    return store


async def found(api: Api, text: str) -> tuple[str, Any]:
    workload = await find_workload(api, Reference.parse(text))
    return str(workload.reference), workload.template["spec"]


@pytest.mark.parametrize("text", ["web", "deploy/web", "deployment.apps/web", "deployments/web"])
async def test_it_is_named_as_kubectl_takes_it(shop: ObjectStore, store_api: Api, text: str) -> None:
    assert (await found(store_api, text))[1] == SPEC


async def test_pods_and_cron_jobs_have_their_templates_elsewhere(shop: ObjectStore, store_api: Api) -> None:
    put(shop, PODS, "web-0", **SPEC)
    put(shop, CRON_JOBS, "report", jobTemplate={"spec": {"template": TEMPLATE}})
    assert await found(store_api, "web-0") == ("pod/web-0", SPEC)
    assert await found(store_api, "report") == ("cronjob/report", SPEC)


async def refusal(api: Api, text: str) -> KtpyError:
    with pytest.raises(KtpyError) as caught:
        await find_workload(api, Reference.parse(text))
    return caught.value


async def test_refusals(shop: ObjectStore, store_api: Api) -> None:
    absent = await refusal(store_api, "none")
    assert isinstance(absent, TargetAbsent)
    assert absent.message.startswith("There is no deployment, statefulset,")
    assert absent.hint == "It has deployment/web."
    put(shop, STATEFUL_SETS, "web", template=TEMPLATE)
    several = await refusal(store_api, "web")
    assert isinstance(several, TargetAmbiguous)
    assert "deployment/web and statefulset/web" in several.message
    put(shop, DEPLOYMENTS, "empty")
    assert isinstance(await refusal(store_api, "deploy/empty"), TargetUnsuitable)


async def test_no_namespace(store: ObjectStore, store_api: Api) -> None:
    assert isinstance(await refusal(store_api, "web"), NamespaceAbsent | TargetAbsent)


async def test_the_claims_that_a_stateful_set_makes(shop: ObjectStore, store_api: Api) -> None:
    put(
        shop,
        STATEFUL_SETS,
        "db",
        template=TEMPLATE,
        ordinals={"start": 3},
        volumeClaimTemplates=[{"metadata": {"name": "data"}}],
    )
    workload = await find_workload(store_api, Reference.parse("sts/db"))
    assert workload.claims_of_set == {"data": "data-db-3"}


async def test_a_service_stands_for_its_workload(shop: ObjectStore, store_api: Api) -> None:
    shop.put(SERVICES, {"metadata": {"name": "front"}, "spec": {"selector": {"app": "web"}}})
    shop.put(SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "other"}}})
    for text in ("front", "svc/front"):
        workload = await find_workload(store_api, Reference.parse(text))
        assert (str(workload.reference), workload.service) == ("deployment/web", "front")
    bare = await find_workload(store_api, Reference.parse("web"))
    assert (str(bare.reference), bare.service) == ("deployment/web", None)
    assert "app=other" in (await refusal(store_api, "svc/web")).message
    absent = await refusal(store_api, "svc/none")
    assert (type(absent), absent.hint) == (TargetAbsent, "Its services are: front, web.")
