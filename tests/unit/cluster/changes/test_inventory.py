from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.inventory import take_inventory
from ktpy.cluster.changes.preview import PREVIEW
from ktpy.cluster.names import labels
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import furnish, gateway, preview
from tests.unit.kube.object_store import ObjectStore

JOBS = "/apis/batch/v1/namespaces/shop/jobs"


async def test_it_tells_who_does_what(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "a", "al").enter()
    await gateway(store_api, "b", "bo").enter()
    await preview(store_api, "p").enter()
    pay, web = await take_inventory(store_api, None)
    assert {one.id: (one.owner, one.is_live()) for one in web.participants.values()} == {
        "a": ("al", True),
        "b": ("bo", True),
    }
    assert (web.service.name, web.kind, web.is_redirected) == ("web", GATEWAY, True)
    assert (pay.service.name, pay.kind, list(pay.participants)) == ("pay", PREVIEW, ["p"])


async def test_what_a_shadow_leaves_is_no_intercept(store: ObjectStore, store_api: Api) -> None:
    name = "ktpy-shadow-5e55"
    store.put(JOBS, {"metadata": {"name": name, "labels": labels("shadow", owner="al", session="5e55")}})
    assert await take_inventory(store_api, "shop") == []
