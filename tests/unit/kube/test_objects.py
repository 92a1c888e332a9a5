from ktpy.kube.objects import (
    annotations_of,
    conditions_of,
    endpoints_of,
    is_being_deleted,
    labels_of,
    name_of,
    spec_of,
    status_of,
    version_of,
)

BARE = {"metadata": {"name": "web", "uid": "1", "resourceVersion": "2"}}


def test_what_an_object_leaves_out_is_empty() -> None:
    assert name_of(BARE) == "web"
    assert (labels_of(BARE), annotations_of(BARE), spec_of(BARE), status_of(BARE)) == ({}, {}, {}, {})
    assert (conditions_of(BARE), endpoints_of(BARE)) == ([], [])
    assert not is_being_deleted(BARE)


def test_null_is_the_same_as_left_out() -> None:
    """The API server writes null for the empty lists and maps of some objects."""
    metadata = {**BARE["metadata"], "labels": None, "annotations": None}
    nulls = {"metadata": metadata, "spec": None, "status": {"conditions": None}, "endpoints": None}
    assert (labels_of(nulls), annotations_of(nulls), spec_of(nulls)) == ({}, {}, {})
    assert (conditions_of(nulls), endpoints_of(nulls)) == ([], [])


def test_what_is_there_is_told_as_it_is() -> None:
    metadata = {**BARE["metadata"], "labels": {"a": "b"}, "deletionTimestamp": "2030-01-01T00:00:00Z"}
    item = {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert labels_of(item) == {"a": "b"}
    assert is_being_deleted(item)
    assert conditions_of(item) == [{"type": "Ready", "status": "True"}]


def test_the_version_of_an_object_is_what_a_patch_may_demand() -> None:
    item = {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7"}}
    assert version_of(item) == {"uid": "u", "resourceVersion": "7"}
