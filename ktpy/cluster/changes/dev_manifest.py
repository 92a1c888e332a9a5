"""The Deployment of a dev pod: a workload's template, whose chosen container waits for the developer. Pure.

All else of the pod is the workload's own: environment, volumes, service account, security context, other containers.
ktpy's init container brings the agent, which is pid 1 of the dev container and reaps; so there is no sidecar.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from ktpy.cluster.changes.options import DevPatch, PersistentDir
from ktpy.cluster.names import SESSION, TARGET, authorized_key_annotation, derived, labels
from ktpy.cluster.pods.agent_pod import SECURITY_CONTEXT
from ktpy.cluster.pods.clothes import AGENT
from ktpy.cluster.service.reference import Reference
from ktpy.kube.objects import Json
from ktpy.wire import dev
from ktpy.wire.files import SERVICE_ACCOUNT_DIR
from ktpy.wire.pod import ANNOTATIONS_FILE, DOMAIN, SSHD_PORT, SSHD_PORT_VARIABLE

ROLE: Final = "dev"
DEVELOPS: Final = f"{DOMAIN}/develops"
"""This annotation of the Deployment says in JSON what it stands for."""
REPLACE, DUPLICATE = "replace", "duplicate"
KEEP_PODS: Final = ("cronjob", "job", "pod")
"""Kinds whose pods run on when it is switched off."""
INSTALLER: Final = "ktpy-agent"
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "args", "stdin", "stdinOnce", "tty")
_OF_CONTROLLERS: Final = ("pod-template-hash", "controller-revision-hash", "controller-uid", "job-name")
_OF_CONTROLLERS_DOMAINS: Final = ("statefulset.kubernetes.io/", "batch.kubernetes.io/", "apps.kubernetes.io/")
_OF_A_PODS_OWN: Final = ("nodeName", "ephemeralContainers", "activeDeadlineSeconds", "restartPolicy", "priority")
_MIN_GRACE_S: Final = 10


@dataclass(frozen=True, slots=True)
class DevPlan:
    """A DevPlan is what `ktpy dev start` will do in the cluster."""

    reference: Reference
    namespace: str
    template: Json
    container: str
    mode: str
    """REPLACE or DUPLICATE."""
    session: str
    owner: str
    public_key: str
    agent_image: str
    image: str | None = None
    """The dev container's; None for the workload's own."""
    claims_of_set: Mapping[str, str] = field(default_factory=dict)
    is_alone: bool = False
    """Whether the workload never has two pods at once: its strategy is Recreate, or one pod alone may have a claim."""
    placement: Json = field(default_factory=dict)
    """Of the pod's spec: where its claims can be used."""
    warnings: tuple[str, ...] = ()
    sources: str | None = None
    """Where the dev container has a folder of its own, empty at first."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """In the place of the workload's."""
    env: tuple[tuple[str, str], ...] = ()
    """Beside the workload's."""
    persistent: tuple[PersistentDir, ...] = ()
    storage_class: str = ""
    patches: tuple[DevPatch, ...] = ()
    folder: str = ""
    """Where terminals and programs begin; the image's own without."""

    def claim_name(self, path: str) -> str:
        """Name the claim of a persistent directory: each developer has one for each."""
        told = json.dumps([str(self.reference), self.container, self.owner, path])
        return derived(self.reference.name, f"-ktpy-{hashlib.sha256(told.encode()).hexdigest()[:10]}")

    @property
    def own_volumes(self) -> dict[str, Json]:
        """By the paths at which they are mounted: volumes in the place of whatever the container has there."""
        found: dict[str, Json] = {self.sources: {"name": "ktpy-sources", "emptyDir": {}}} if self.sources else {}
        for number, one in enumerate(self.persistent):
            claim = {"claimName": self.claim_name(one.path)}
            found[one.path] = {"name": f"ktpy-persistent-{number}", "persistentVolumeClaim": claim}
        return found

    @property
    def clone(self) -> str:
        """The Deployment's name: one for each workload that is replaced, so that two cannot replace it."""
        mark = "" if self.replaces else f"-{self.session}"
        return clone_name(self.reference, mark)

    @property
    def replaces(self) -> bool:
        return self.mode == REPLACE

    @property
    def is_exclusive(self) -> bool:
        """Whether the original's pods have to go before the dev pod starts: both want a claim, or a node's port."""
        spec = self.template["spec"]
        ports = [port for one in spec["containers"] for port in one.get("ports") or []]
        wants_host = spec.get("hostNetwork") or any(one.get("hostPort") for one in ports)
        wants_all = bool(self.claims_of_set or self.is_alone or wants_host)
        return self.replaces and self.reference.kind not in KEEP_PODS and wants_all

    @property
    def details(self) -> dict[str, str]:
        """Say what it is about, for the Lease and the Deployment."""
        return {
            "kind": ROLE,
            "workload": str(self.reference),
            "mode": self.mode,
            "container": self.container,
            "clone": self.clone,
            "exclusive": "yes" if self.is_exclusive else "",
            "folder": self.folder,
        }


def clone_name(reference: Reference, mark: str = "") -> str:
    """Name the Deployment of the dev pod of a workload: after its name, so that no other's name is like it."""
    kind = "" if reference.kind == "deployment" else f"-{reference.kind}"
    return derived(reference.name, f"-ktpy-dev{kind}{mark}")


def dev_deployment(plan: DevPlan, *, replicas: int = 1) -> Json:
    """Return the Deployment."""
    marks = labels(ROLE, owner=plan.owner, session=plan.session, target=plan.clone)
    template = deepcopy(plan.template)
    old = template.get("metadata") or {}
    kept = old.get("labels") or {} if plan.replaces else {}
    own = {key: value for key, value in marks.items() if key.startswith(f"{DOMAIN}/")} if kept else marks
    key = {authorized_key_annotation(plan.session): plan.public_key}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": plan.clone,
            "namespace": plan.namespace,
            "labels": marks,
            "annotations": {DEVELOPS: json.dumps(plan.details, separators=(",", ":"))},
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {SESSION: plan.session, TARGET: plan.clone}},
            "template": {
                "metadata": {
                    "labels": {name: value for name, value in kept.items() if not _is_controllers(name)} | own,
                    "annotations": {**_annotations(old), **key},
                },
                "spec": _pod_spec(plan, template["spec"]),
            },
        },
    }


def ssh_port(pod: Json, container: str) -> int:
    """Return the port of the agent's sshd in a dev pod."""
    for one in pod["spec"]["containers"]:
        if one["name"] == container:
            found = {each["name"]: each.get("value") for each in one.get("env") or []}
            return int(found.get(SSHD_PORT_VARIABLE) or SSHD_PORT)
    return SSHD_PORT


def _pod_spec(plan: DevPlan, spec: Json) -> Json:
    volumes = [one for one in spec.get("volumes") or [] if not str(one["name"]).startswith("kube-api-access-")]
    volumes += [_volume_of_set(name, claim, plan.mode) for name, claim in plan.claims_of_set.items()]
    grace_s = max(spec.get("terminationGracePeriodSeconds") or 0, _MIN_GRACE_S)
    containers = [
        _dev_container(one, plan, spec) if one["name"] == plan.container else _without_token(one)
        for one in spec["containers"]
    ]
    return {
        **{name: value for name, value in spec.items() if name not in _OF_A_PODS_OWN},
        **plan.placement,
        "terminationGracePeriodSeconds": grace_s,
        "containers": containers,
        "initContainers": [*map(_without_token, spec.get("initContainers") or []), _installer(plan.agent_image)],
        "volumes": [
            *volumes,
            {"name": "ktpy", "emptyDir": {}},
            *plan.own_volumes.values(),
            {"name": "ktpy-run", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {
                "name": "ktpy-podinfo",
                "downwardAPI": {
                    "items": [{"path": ANNOTATIONS_FILE, "fieldRef": {"fieldPath": "metadata.annotations"}}]
                },
            },
        ],
    }


def _dev_container(container: Json, plan: DevPlan, spec: Json) -> Json:
    ports = [one for one in container.get("ports") or [] if one.get("protocol", "TCP") == "TCP"]
    used = {one["containerPort"] for each in spec["containers"] for one in each.get("ports") or []}
    port = next(number for number in range(SSHD_PORT, SSHD_PORT + len(used) + 1) if number not in used)
    own = _without_token({name: value for name, value in container.items() if name not in _PROBES})
    image = {"image": plan.image, "imagePullPolicy": "IfNotPresent"} if plan.image else {}
    settings = {
        "KTPY_RUN_DIR": dev.RUN_DIR,
        "KTPY_SSHD_CONFIG": f"{dev.FOLDER}/sshd_config",
        "KTPY_ANNOTATIONS": f"{dev.PODINFO_DIR}/{ANNOTATIONS_FILE}",
        SSHD_PORT_VARIABLE: str(port),
    }
    added = {**dict(plan.env), **settings}
    kept = [one for one in container.get("env") or [] if one["name"] not in added]
    # What is ready listens: until then the workload's own pods serve.
    listens = [
        {"tcpSocket": {"port": one["containerPort"]}, "periodSeconds": 1, "failureThreshold": 1} for one in ports
    ]
    return {
        **own,
        **image,
        "command": [dev.PROGRAM, dev.ROLE],
        "env": [*kept, *({"name": key, "value": text} for key, text in added.items())],
        **({"resources": dict(plan.resources)} if plan.resources else {}),
        "volumeMounts": [
            *(one for one in own.get("volumeMounts") or [] if one["mountPath"].rstrip("/") not in plan.own_volumes),
            *({"name": one["name"], "mountPath": path} for path, one in plan.own_volumes.items()),
            {"name": "ktpy", "mountPath": dev.FOLDER},
            {"name": "ktpy-run", "mountPath": dev.RUN_DIR},
            {"name": "ktpy-podinfo", "mountPath": dev.PODINFO_DIR, "readOnly": True},
        ],
        **({"readinessProbe": listens[0]} if listens else {}),
    }


def _installer(image: str) -> Json:
    return {
        "name": INSTALLER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [AGENT, dev.INSTALL_ROLE, dev.FOLDER],
        "securityContext": SECURITY_CONTEXT,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "ktpy", "mountPath": dev.FOLDER}],
    }


def _volume_of_set(name: str, claim: str, mode: str) -> Json:
    """A duplicate of a StatefulSet's pod has data of its own: its claim is the original's alone."""
    return {"name": name} | ({"persistentVolumeClaim": {"claimName": claim}} if mode == REPLACE else {"emptyDir": {}})


def _without_token(container: Json) -> Json:
    """Leave out the mount that the API server adds to each pod anew."""
    mounts = [one for one in container.get("volumeMounts") or [] if one["mountPath"] != SERVICE_ACCOUNT_DIR]
    return container | ({"volumeMounts": mounts} if mounts or "volumeMounts" in container else {})


def _is_controllers(label: str) -> bool:
    return label in _OF_CONTROLLERS or label.startswith(_OF_CONTROLLERS_DOMAINS)


def _annotations(metadata: Json) -> dict[str, str]:
    found: dict[str, str] = metadata.get("annotations") or {}
    return {name: value for name, value in found.items() if not name.startswith(f"{DOMAIN}/")}
