"""Whether the cluster lets a pod of ktpy's in: by a dry run, which asks all that has a say, or else by LimitRanges."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ktpy.cluster.pods.quantity import parse_quantity
from ktpy.cluster.pods.shadow_manifest import shadow_job
from ktpy.doctor.finding import Finding, State, failed
from ktpy.errors import ApiRefused, Forbidden, NamespaceAbsent
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, name_of, spec_of
from ktpy.kube.resources import LIMIT_RANGES, PODS

_SUBJECT: Final = "admission"
_Amounts = Mapping[str, Decimal]


async def admission(api: Api, image: str, pod_overlay: Mapping[str, Any]) -> list[Finding]:
    """Ask for the pod as a dry run: quotas, LimitRanges, Pod Security and webhooks judge it, and nothing is made."""
    job = shadow_job(
        session="doctor",
        owner="doctor",
        namespace=api.namespace,
        image=image,
        public_key="none",
        pod_timeout_s=60,
        pod_overlay=pod_overlay,
    )
    template, warnings = job["spec"]["template"], list[str]()
    metadata = {**template["metadata"], "generateName": "ktpy-doctor-"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    try:
        path = PODS.path(api.namespace)
        await api.request("POST", path, query={"dryRun": "All"}, body=pod, warnings=warnings)
    except Forbidden:
        return [await _limits(api, template["spec"]["containers"][0]["resources"])]
    except NamespaceAbsent as error:
        return [failed(_SUBJECT, error, State.NOT_MADE)]
    except ApiRefused as error:
        is_undecided = "does not support dry run" in error.message  # of a webhook
        return [failed(_SUBJECT, error, State.NOT_MADE if is_undecided else State.FAILED)]
    admitted = Finding(_SUBJECT, State.OK, "A dry run lets ktpy's pod in: quotas, limits, Pod Security and webhooks.")
    return [admitted, *(Finding(_SUBJECT, State.WARNING, f"The API server warns: {one}.") for one in warnings)]


async def _limits(api: Api, resources: Json) -> Finding:
    try:
        answer = await api.request("GET", LIMIT_RANGES.path(api.namespace))
    except Forbidden as error:
        return failed(_SUBJECT, error, State.NOT_MADE)
    if refused := refused_by(answer.get("items") or [], resources):
        return Finding(
            _SUBJECT,
            State.FAILED,
            f"Limits would refuse ktpy's pod: {', '.join(refused)}.",
            "Give the container `agent` other resources: ktpy connect --pod-overlay FILE",
        )
    return Finding(_SUBJECT, State.OK, "No LimitRange refuses ktpy's pod; webhooks show only when it starts.")


def refused_by(limit_ranges: list[Json], resources: Json) -> list[str]:
    """Return which limits a pod of one container with these resources is beyond, by the rules of the LimitRanger.

    k8s.io/kubernetes/plugin/pkg/admission/limitranger; the API server has written all defaults into the object.
    """
    entries = [(name_of(one), entry) for one in limit_ranges for entry in spec_of(one).get("limits") or []]
    requests, limits = _amounts(resources.get("requests")), _amounts(resources.get("limits"))
    for _, entry in entries:
        if entry["type"] == "Container":
            requests = {**_amounts(entry.get("defaultRequest")), **requests}
            limits = {**_amounts(entry.get("default")), **limits}
    return [
        f"LimitRange {name} ({bound} of {key} per {entry['type']}: {value})"
        for name, entry in entries
        if entry["type"] in ("Container", "Pod")
        for bound in ("min", "max", "maxLimitRequestRatio", "default")
        for key, value in (entry.get(bound) or {}).items()
        if _is_beyond(bound, parse_quantity(str(value)), requests.get(key), limits.get(key))
    ]


def _is_beyond(bound: str, value: Decimal, request: Decimal | None, limit: Decimal | None) -> bool:
    match bound:
        case "min":
            return request is None or request < value or (limit is not None and limit < value)
        case "default":  # a limit below what is requested makes no pod
            return request is not None and limit is not None and limit < request
        case "max":
            return limit is None or limit > value or (request is not None and request > value)
        case _:
            return not request or not limit or limit / request > value


def _amounts(quantities: Mapping[str, str] | None) -> _Amounts:
    return {key: parse_quantity(str(value)) for key, value in (quantities or {}).items()}
