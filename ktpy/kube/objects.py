"""The shape of the API server's objects, as far as ktpy reads them. Pure.

An object is plain JSON: what it holds besides is left alone, and comes back as it was.
"""

import json
from typing import Any, Required, TypedDict

Json = dict[str, Any]
"""A JSON object: one of the API server's, a part of one, a manifest, or a section of a kubeconfig."""


class Metadata(TypedDict, total=False):
    """Metadata is what every object has (ObjectMeta). The API server sets the uid and the version."""

    name: Required[str]
    namespace: str
    uid: Required[str]
    resourceVersion: Required[str]
    labels: dict[str, str]
    annotations: dict[str, str]
    creationTimestamp: str
    deletionTimestamp: str
    managedFields: list[Json]
    ownerReferences: list[Json]


class Condition(TypedDict, total=False):
    """A Condition is an entry of `status.conditions`, of a pod or of a Deployment."""

    type: Required[str]
    status: str
    reason: str
    message: str


class Endpoint(TypedDict, total=False):
    """An Endpoint is an entry of an EndpointSlice's `endpoints`."""

    addresses: list[str]
    hostname: str
    conditions: dict[str, bool]
    targetRef: dict[str, str]


def parse_object(text: bytes | str) -> Json:
    """Parse a JSON object that somebody else has written. Raises ValueError for all else, also for absurd nesting."""
    try:
        document = json.loads(text)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - as json.loads for what is no JSON
    return document


def metadata_of(item: Json) -> Metadata:
    """Return the object's metadata."""
    metadata: Metadata = item["metadata"]
    return metadata


def version_of(item: Json) -> Json:
    """Return the metadata that lets a patch succeed for exactly this object, as it is now: uid and resourceVersion."""
    return {key: item["metadata"][key] for key in ("uid", "resourceVersion")}


def name_of(item: Json) -> str:
    """Return the object's name."""
    return metadata_of(item)["name"]


def labels_of(item: Json) -> dict[str, str]:
    """Return the object's labels; empty when it has none."""
    return metadata_of(item).get("labels") or {}


def annotations_of(item: Json) -> dict[str, str]:
    """Return the object's annotations; empty when it has none."""
    return metadata_of(item).get("annotations") or {}


def is_being_deleted(item: Json) -> bool:
    """Tell whether the object has been deleted and waits for its end: a grace period, or finalizers."""
    return bool(metadata_of(item).get("deletionTimestamp"))


def spec_of(item: Json) -> Json:
    """Return what is wanted of the object; empty when it has no `spec`."""
    return item.get("spec") or {}


def status_of(item: Json) -> Json:
    """Return what has become of the object; empty when it has no `status` yet."""
    return item.get("status") or {}


def conditions_of(item: Json) -> list[Condition]:
    """Return the object's `status.conditions`; empty when it has none yet."""
    return status_of(item).get("conditions") or []


def endpoints_of(endpoint_slice: Json) -> list[Endpoint]:
    """Return the endpoints of an EndpointSlice; an empty slice has none."""
    return endpoint_slice.get("endpoints") or []
