import pytest

from ktpy.cluster.service import field_managers
from ktpy.kube.objects import Json

SELECTOR: Json = {"f:spec": {"f:selector": {}}}


def entry(manager: str, operation: str = "Update", fields: Json | None = None, **more: str) -> Json:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "time": "2030-01-01T12:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields if fields is not None else {"f:spec": {"f:ports": {}, "f:selector": {}}},
        **more,
    }


def service(*entries: Json) -> Json:
    return {"metadata": {"name": "web", "managedFields": list(entries)}}


def managed(entries: list[Json] | None) -> dict[str, Json]:
    return {f"{one['manager']} {one['operation']}": one["fieldsV1"] for one in entries or []}


def test_everybody_who_manages_the_selector_is_noted() -> None:
    others = entry("helm", fields={"f:metadata": {}})
    found = field_managers.of_selector(service(entry("flux", "Apply"), entry("kubectl"), others, entry("ktpy")))
    assert [(one["manager"], one["operation"]) for one in found] == [("flux", "Apply"), ("kubectl", "Update")]
    assert all("fieldsV1" not in one for one in found)


@pytest.mark.parametrize("metadata", [{}, {"managedFields": None}, {"managedFields": [{"manager": "x"}]}])
def test_a_service_that_does_not_tell(metadata: Json) -> None:
    assert field_managers.of_selector({"metadata": metadata}) == []
    assert field_managers.given_back({"metadata": metadata}, []) is None


def test_the_selector_is_theirs_again_and_our_entry_goes() -> None:
    before = service(entry("flux", "Apply"), entry("kubectl"))
    during = service(
        entry("flux", "Apply", {"f:spec": {"f:ports": {}}}),
        entry("kubectl", fields={"f:spec": {"f:ports": {}}}),
        entry("ktpy", fields=SELECTOR),
    )
    back = field_managers.given_back(during, field_managers.of_selector(before))
    assert back == before["metadata"]["managedFields"]


def test_whoever_managed_nothing_else_has_his_entry_again() -> None:
    before = service(entry("kubectl-patch", fields=SELECTOR))
    during = service(entry("ktpy", fields=SELECTOR))
    back = field_managers.given_back(during, field_managers.of_selector(before))
    assert back == before["metadata"]["managedFields"]


def test_what_else_is_ours_stays_ours() -> None:
    annotations: Json = {"f:annotations": {"f:ktpy.dev/intercepted": {}}}
    during = service(entry("ktpy", fields={"f:metadata": annotations, **SELECTOR}))
    back = field_managers.given_back(during, [{"manager": "helm", "operation": "Update", "apiVersion": "v1"}])
    assert managed(back) == {"ktpy Update": {"f:metadata": annotations}, "helm Update": SELECTOR}


def test_a_selector_that_somebody_has_written_since_is_his() -> None:
    during = service(entry("kubectl-edit", fields=SELECTOR), entry("ktpy", fields={"f:metadata": {}}))
    assert field_managers.given_back(during, [{"manager": "helm"}]) is None


def test_an_entry_for_the_status_is_not_taken_for_that_of_the_object() -> None:
    status = entry("helm", fields={"f:status": {}}, subresource="status")
    during = service(status, entry("ktpy", fields=SELECTOR))
    back = field_managers.given_back(during, [{"manager": "helm", "operation": "Update", "apiVersion": "v1"}])
    assert [(one["manager"], one.get("subresource")) for one in back or []] == [("helm", "status"), ("helm", None)]
    assert status["fieldsV1"] == {"f:status": {}}


REPLICAS: Json = {"f:spec": {"f:replicas": {}}}


def test_a_field_that_is_managed_by_a_subresource_is_given_back_there() -> None:
    """As a HorizontalPodAutoscaler and `kubectl scale` have it."""
    path = ("spec", "replicas")
    scaler, applier = entry("kubectl", fields=REPLICAS, subresource="scale"), entry("kubectl", fields={"f:spec": {}})
    before = service(scaler, applier)
    during = service(applier, entry("ktpy", fields=REPLICAS))
    assert field_managers.given_back(during, field_managers.of_field(before, path), path) == [applier, scaler]


def test_parts_of_a_field_are_given_back_to_whose_they_were() -> None:
    path = ("metadata", "labels")
    labels = [entry(name, fields={"f:metadata": {"f:labels": {f"f:{name}": {}}}}) for name in ("helm", "flux")]
    both: Json = {"f:metadata": {"f:labels": {"f:helm": {}, "f:flux": {}}}}
    back = field_managers.given_back(
        service(entry("ktpy", fields=both)), field_managers.of_field(service(*labels), path), path
    )
    assert back == labels


def test_parts_that_somebody_has_written_meanwhile_stay_his() -> None:
    path = ("metadata", "labels")
    before: Json = {"f:metadata": {"f:labels": {"f:a": {}}}}
    new: Json = {"f:metadata": {"f:labels": {"f:b": {}}}}
    all_of_it: Json = {"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}}
    during = service(entry("helm", fields=new), entry("ktpy", fields=before))
    noted = field_managers.of_field(service(entry("helm", fields=before)), path)
    assert field_managers.given_back(during, noted, path) == [entry("helm", fields=all_of_it)]
