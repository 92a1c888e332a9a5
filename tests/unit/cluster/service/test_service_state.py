import json
from typing import Any

import pytest

from ktpy.cluster.names import GATEWAY, INTERCEPTED
from ktpy.cluster.service import service_state
from ktpy.cluster.service.service_state import Interception
from tests.unit.cluster.gateway_cases import REDIRECTED, service
from tests.unit.kube.object_store import _merge

POD = {GATEWAY: "web", **REDIRECTED}
"""The labels of the gateway's pods."""


def applied(found: dict[str, Any], patch: dict[str, Any] | None) -> dict[str, Any]:
    assert patch is not None
    _merge(found, patch)
    return found


def intercepted(*sessions: str) -> dict[str, Any]:
    found = service()
    for session in sessions:
        applied(found, service_state.entering(found, session, POD))
    return found


def test_the_first_one_redirects_the_service_and_notes_what_it_selected() -> None:
    found = intercepted("a")
    assert found["spec"]["selector"] == REDIRECTED
    assert json.loads(found["metadata"]["annotations"][INTERCEPTED]) == {
        "version": 1,
        "selector": {"app": "web"},
        "sessions": ["a"],
    }


def test_others_join() -> None:
    assert service_state.read(intercepted("a", "b")) == Interception({"app": "web"}, ("a", "b"))


def test_entering_twice_is_entering_once() -> None:
    assert service_state.read(intercepted("a", "b", "a")) == Interception({"app": "web"}, ("b", "a"))


def test_the_last_one_out_gives_everything_back() -> None:
    found = intercepted("a", "b")
    applied(found, service_state.leaving(found, {"a"}))
    assert service_state.is_redirected(found)
    applied(found, service_state.leaving(found, {"b"}))
    assert found == service()


def managed(manager: str) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:selector": {}}},
    }


def of_kubectl() -> dict[str, Any]:
    found = service()
    found["metadata"]["managedFields"] = [managed("kubectl")]
    return found


def intercepted_from_kubectl() -> dict[str, Any]:
    """As the API server notes it."""
    found = of_kubectl()
    applied(found, service_state.entering(found, "a", POD))
    found["metadata"]["managedFields"] = [managed("ktpy")]
    return found


def test_the_field_stays_whose_it_was() -> None:
    found = intercepted_from_kubectl()
    applied(found, service_state.handing_over(found))
    assert found["metadata"]["managedFields"] == of_kubectl()["metadata"]["managedFields"]
    assert found["spec"]["selector"] == REDIRECTED
    assert service_state.handing_over(found) is None
    applied(found, service_state.entering(found, "b", POD))
    assert service_state.read(found).managers == ({"manager": "kubectl", "operation": "Update", "apiVersion": "v1"},)  # type: ignore[union-attr]


def test_the_selector_comes_first_and_then_whose_field_it_is() -> None:
    found = intercepted_from_kubectl()
    applied(found, service_state.leaving(found, {"a"}))
    assert found["spec"] == service()["spec"]
    applied(found, service_state.leaving(found, {"a"}))
    assert found == of_kubectl()
    assert service_state.leaving(found, {"a"}) is None


def test_who_comes_in_between_knows_whose_field_it_was() -> None:
    found = intercepted_from_kubectl()
    applied(found, service_state.leaving(found, {"a"}))
    applied(found, service_state.entering(found, "b", POD))
    found["metadata"]["managedFields"] = [managed("ktpy")]
    assert service_state.leaving(found, {"a"}) is None
    for _ in range(2):
        applied(found, service_state.leaving(found, {"b"}))
    assert found == of_kubectl()


def test_who_never_took_part_changes_nothing() -> None:
    assert service_state.leaving(service(), {"a"}) is None
    assert service_state.leaving(intercepted("b"), {"a"}) is None


def test_every_patch_holds_for_one_version_of_one_object() -> None:
    for patch in (service_state.entering(service(), "a", POD), service_state.leaving(intercepted("a"), {"a"})):
        assert patch is not None
        assert patch["metadata"]["uid"] == "uid-of-web"
        assert patch["metadata"]["resourceVersion"] == "1"


def test_a_selector_that_somebody_put_back_stays() -> None:
    found = intercepted("a")
    found["spec"]["selector"] = {"app": "web2"}
    applied(found, service_state.leaving(found, {"a"}))
    assert found["spec"]["selector"] == {"app": "web2"}
    assert INTERCEPTED not in found["metadata"]["annotations"]


def test_a_manifest_applied_over_ours_leads_to_the_services_own_pods() -> None:
    """kubectl apply merges maps, and so do Helm and Argo CD: a manifest's keys are written, no others taken away."""
    own = {"app": "web", "tier": "front"}
    found = service(selector=dict(own))
    applied(found, service_state.entering(found, "a", {GATEWAY: "web", **service_state.redirecting_labels("web", own)}))
    assert found["spec"]["selector"] == REDIRECTED
    found["spec"]["selector"] |= own
    assert found["spec"]["selector"] == own
    assert not service_state.is_redirected(found)


def test_what_somebody_adds_to_ours_is_kept() -> None:
    found = intercepted("a")
    found["spec"]["selector"] |= {"tier": "front"}
    assert service_state.selector_for(found) == {"app": "web", "tier": "front"}
    applied(found, service_state.leaving(found, {"a"}))
    assert found["spec"]["selector"] == {"app": "web", "tier": "front"}


def test_entering_mends_a_selector_that_somebody_added_to() -> None:
    found = intercepted("a")
    found["spec"]["selector"] |= {"tier": "front"}
    applied(found, service_state.entering(found, "b", POD))
    assert found["spec"]["selector"] == REDIRECTED
    assert service_state.read(found) == Interception({"app": "web", "tier": "front"}, ("a", "b"))


def test_a_gateway_without_the_services_keys_is_selected_by_ktpys_own() -> None:
    """It was made when the Service selected by others."""
    found = service(selector={"tier": "front"})
    applied(found, service_state.entering(found, "a", POD))
    assert found["spec"]["selector"] == {GATEWAY: "web"}
    assert service_state.selector_for(found) == {"tier": "front"}
    applied(found, service_state.leaving(found, {"a"}))
    assert found == service(selector={"tier": "front"})


def test_sessions_that_have_expired_are_dropped_on_entering() -> None:
    found = intercepted("a")
    applied(found, service_state.entering(found, "b", POD, gone={"a"}))
    assert service_state.read(found) == Interception({"app": "web"}, ("b",))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"selector": 1, "sessions": []}', '{"selector": {}}'])
def test_an_annotation_that_is_not_ours(text: str) -> None:
    found = service()
    found["metadata"]["annotations"][INTERCEPTED] = text
    assert service_state.read(found) is None


def test_without_the_annotation_the_selector_comes_from_elsewhere() -> None:
    found = intercepted("a")
    del found["metadata"]["annotations"][INTERCEPTED]
    assert service_state.selector_for(found) is None
    assert service_state.leaving(found, {"a"}) is None
    applied(found, service_state.leaving(found, {"a"}, lost_selector={"app": "web"}))
    assert found == service()


def test_entering_needs_to_know_the_selector() -> None:
    found = intercepted("a")
    del found["metadata"]["annotations"][INTERCEPTED]
    with pytest.raises(ValueError, match="unknown"):
        service_state.entering(found, "b", POD)
