"""A workload's pod template becomes what the shadow pod wears: an overlay of the shadow pod's template. Pure.

The shadow pod has the workload's service account, environment and identity, so the kubelet resolves everything. It has
none of its labels, which a Service may select, nor probes, ports, init containers and sidecars.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ktpy.cluster.pods.agent_pod import SECURITY_CONTEXT
from ktpy.cluster.pods.quantity import in_units
from ktpy.cluster.pods.sources import VariableSource, variable_sources
from ktpy.cluster.pods.volumes import ClaimAccess, PodMount, WornVolumes, referred, worn_volumes
from ktpy.errors import TargetAbsent, TargetAmbiguous
from ktpy.kube.objects import Json
from ktpy.wire import surroundings

ENVIRONMENT_CONTAINER: Final = "environment"
AGENT: Final = "/usr/local/bin/ktpy-agent"
"""The workload may set PATH."""
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_MINIMUM_UID: Final = 500
"""libnss-extrausers, by which sshd knows the agent's account, knows none below this."""
_OF_METADATA = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")
_POD_FIELDS: Final = ("serviceAccountName", "hostname", "dnsPolicy", "dnsConfig", "nodeSelector", "tolerations")


@dataclass(frozen=True, slots=True)
class Clothes:
    """Clothes are what a shadow pod wears of one container of a workload."""

    container: str
    overlay: Json
    """What is merged into the shadow pod's template."""
    secret_names: frozenset[str]
    """The values of these variables hold what single keys of Secrets hold. Of whole Secrets the agent tells."""
    mounts: tuple[PodMount, ...] = ()
    """What the container has at which paths, outer folders first."""
    sources: tuple[VariableSource, ...] = ()
    """Where its environment comes from."""
    own_names: frozenset[str] = frozenset()
    """The values of these variables are those of the pod that has them: its name, its address."""

    def all_secret_names(self, told: tuple[str, ...]) -> frozenset[str]:
        """Return the variables with secrets; `told` are those of whole Secrets, unless `env` sets them otherwise."""
        [container] = [one for one in self.overlay["spec"]["containers"] if one["name"] == ENVIRONMENT_CONTAINER]
        own = {one["name"] for one in container["env"]}
        return _with_references(container["env"], set(self.secret_names) | (set(told) - own))

    def secret_names_among(self, names: Iterable[str]) -> frozenset[str]:
        """Return which of the names may hold secrets, where nobody tells what keys the Secrets have."""
        prefixes = [one.name[:-1] for one in self.sources if one.name[-1] == "*" and one.source.startswith("secret/")]
        return self.all_secret_names(tuple(name for name in names if name.startswith(tuple(prefixes))))


def clothes_of(
    template: Json,
    container: str | None,
    image: str,
    *,
    with_files: bool = False,
    access: ClaimAccess = ClaimAccess.NONE,
    claims_of_set: Mapping[str, str] = {},
) -> Clothes:
    """Return what the shadow pod wears of a workload whose pods have this template (metadata and spec).

    `image` is the agent's; `claims_of_set` are those that a StatefulSet makes, by the name of the volume; `access` is
    what is wanted of claims.
    Raises TargetAmbiguous and TargetAbsent, see `chosen_container`.
    """
    spec: Json = template["spec"]
    chosen = chosen_container(template, container)
    whole_secrets = [one for one in chosen.get("envFrom") or [] if one.get("secretRef")]
    worn = worn_volumes(spec, chosen, claims_of_set, access) if with_files else WornVolumes()
    environment = [_resolved(one, template, chosen) for one in chosen.get("env") or []]
    own = {
        "name": ENVIRONMENT_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [AGENT, surroundings.ENVIRONMENT_ROLE, *(one.get("prefix") or "" for one in whole_secrets)],
        "env": environment,
        "envFrom": chosen.get("envFrom") or [],
        "securityContext": SECURITY_CONTEXT,
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}} | _limits(environment),
        "volumeMounts": [
            {"name": "ktpy-environment", "mountPath": surroundings.ENVIRONMENT_DIR},
            *(
                {"name": f"ktpy-secret-{number}", "mountPath": f"{surroundings.SECRETS_DIR}/{number}", "readOnly": True}
                for number, _ in enumerate(whole_secrets)
            ),
        ],
    }
    volumes = [
        {"name": "ktpy-environment", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        *(_secret_volume(number, one["secretRef"]) for number, one in enumerate(whole_secrets)),
        *worn.volumes,
    ]
    agent = {
        "name": "agent",
        "volumeMounts": [
            {"name": "ktpy-environment", "mountPath": surroundings.ENVIRONMENT_DIR, "readOnly": True},
            *worn.mounts,
        ],
        **({"env": list(worn.variables)} if worn.variables else {}),
    }
    pod = {
        **{name: spec[name] for name in _POD_FIELDS if spec.get(name)},
        "automountServiceAccountToken": spec.get("automountServiceAccountToken"),
        "enableServiceLinks": spec.get("enableServiceLinks"),
        "securityContext": _identity(spec, chosen),
        "containers": [agent, own],
        "volumes": volumes,
    }
    return Clothes(
        chosen["name"],
        {"spec": pod},
        _with_references(environment, _filled_by(chosen, "secretKeyRef")),
        worn.shown,
        tuple(variable_sources(chosen)),
        _with_references(environment, _filled_by(chosen, "fieldRef")),
    )


def chosen_container(template: Json, name: str | None) -> Json:
    """Return the container that is meant, as kubectl chooses it: by its name, by the pod's annotation, the only one.

    Raises TargetAmbiguous for several of which none is named, TargetAbsent for one that there is not.
    """
    containers: list[Json] = template["spec"].get("containers") or []
    names = ", ".join(one["name"] for one in containers)
    by_annotation = ((template.get("metadata") or {}).get("annotations") or {}).get(DEFAULT_CONTAINER)
    wanted = name or by_annotation
    if wanted is None and len(containers) != 1:
        raise TargetAmbiguous(
            f"Its pods have {len(containers)} containers ({names}), and none was named; nothing was changed.",
            hint="Name one with -c.",
        )
    found = [one for one in containers if wanted in (None, one["name"])]
    if not found:
        raise TargetAbsent(
            f"Its pods have no container {wanted}; nothing was changed.", hint=f"Its containers are: {names}."
        )
    return found[0]


def _identity(spec: Json, container: Json) -> Json:
    """Return the security context by which files that are for the workload alone can be read. It is never root."""
    of_pod, of_container = spec.get("securityContext") or {}, container.get("securityContext") or {}
    found = {key: of_pod[key] for key in ("fsGroup", "supplementalGroups", "fsGroupChangePolicy") if of_pod.get(key)}
    for key in ("runAsUser", "runAsGroup"):
        identity = of_container.get(key, of_pod.get(key))
        if identity is not None and identity >= _MINIMUM_UID:
            found[key] = identity
    return found


def _resolved(variable: Json, template: Json, container: Json) -> Json:
    """Return the variable as the shadow pod has to have it, which has neither the labels nor the resources."""
    source = variable.get("valueFrom") or {}
    field_path = (source.get("fieldRef") or {}).get("fieldPath", "")
    if (match := _OF_METADATA.fullmatch(field_path)) is not None:
        of_pod: dict[str, str] = (template.get("metadata") or {}).get(match[1]) or {}
        return {"name": variable["name"], "value": of_pod.get(match[2], "").replace("$", "$$")}
    resource = source.get("resourceFieldRef")
    if resource and (amount := _amount(resource, template, container)) is not None:
        return {"name": variable["name"], "value": amount}
    if resource:  # the node's allocatable resources stand for a limit that there is not
        kept = {key: value for key, value in resource.items() if key != "containerName"}
        return {"name": variable["name"], "valueFrom": {"resourceFieldRef": kept}}
    return variable


def _amount(reference: Json, template: Json, container: Json) -> str | None:
    named = reference.get("containerName") or container["name"]
    containers = [*(template["spec"].get("containers") or []), *(template["spec"].get("initContainers") or [])]
    resources: Json = next((one.get("resources") or {} for one in containers if one["name"] == named), {})
    kind, _, resource = reference["resource"].partition(".")
    limit = (resources.get("limits") or {}).get(resource)
    amount = limit if kind == "limits" else (resources.get("requests") or {}).get(resource, limit or "0")
    return None if amount is None else str(in_units(str(amount), str(reference.get("divisor") or "1")))


def _limits(environment: list[Json]) -> Json:
    """Return a limit of memory, unless a variable is to tell that there is none."""
    is_told = any((one.get("valueFrom") or {}).get("resourceFieldRef") for one in environment)
    return {} if is_told else {"limits": {"memory": "64Mi"}}


def _secret_volume(number: int, reference: Json) -> Json:
    source = {"secretName": reference["name"], "optional": reference.get("optional", False)}
    return {"name": f"ktpy-secret-{number}", "secret": source}


def _filled_by(container: Json, kind: str) -> set[str]:
    return {one["name"] for one in container.get("env") or [] if (one.get("valueFrom") or {}).get(kind)}


def _with_references(environment: list[Json], names: set[str]) -> frozenset[str]:
    """Return the names with those whose value has `$(NAME)` of one of them: a variable refers to earlier ones only."""
    found = set(names)
    for one in environment:
        if found & set(referred(str(one.get("value") or ""))):
            found.add(one["name"])
    return frozenset(found)
