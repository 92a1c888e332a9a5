"""Applications of a test's own: a namespace with pods of the workload image, services before them, and a client."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.demo.manifest import CONTAINER_SECURITY, POD_SECURITY
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE
from tests.lab.processes import wait_until

Manifest = dict[str, Any]
CLIENT = "client"
GONE_TIMEOUT_S = 180.0
COUNTED_TIMEOUT_S = 60.0
ROLLOUT_TIMEOUT_S = 240.0


def code(name: str, **files: Path) -> Manifest:
    """A ConfigMap of programs: `server=Path(...)` is server.py, for `deployment(..., code=NAME)`."""
    data = {f"{file}.py": path.read_text(encoding="utf-8") for file, path in files.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def container(name: str, *command: str, ports: Mapping[str, int | tuple[int, str]] = {}) -> Manifest:
    """`ports` by name; (7007, "UDP") where it is not TCP. The first TCP port tells when it is ready."""
    pairs = {port: number if isinstance(number, tuple) else (number, "TCP") for port, number in ports.items()}
    found: Manifest = {
        "name": name,
        "image": WORKLOAD_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "ports": [{"name": port, "containerPort": number, "protocol": kind} for port, (number, kind) in pairs.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": CONTAINER_SECURITY,
    }
    if tcp := [number for number, kind in pairs.values() if kind == "TCP"]:
        found["readinessProbe"] = {"tcpSocket": {"port": tcp[0]}, "periodSeconds": 1}
    return found


def deployment(name: str, *containers: Manifest, code: str | None = None) -> Manifest:
    """Pods labelled `app: NAME`, which pass Pod Security `restricted` and may listen on privileged ports."""
    sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {**POD_SECURITY, "sysctls": sysctls},
        "terminationGracePeriodSeconds": 1,
        "containers": list(containers),
    }
    if code is not None:
        pod["volumes"] = [{"name": "code", "configMap": {"name": code}}]
        pod["containers"] = [one | {"volumeMounts": [{"name": "code", "mountPath": "/code"}]} for one in containers]
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str, *ports: Manifest, app: str | None = None) -> Manifest:
    """Before the pods of `app`, which has its name else."""
    spec = {"selector": {"app": app or name}, "ports": list(ports)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def client() -> Manifest:
    """A pod that does nothing; see `netns`."""
    return deployment(CLIENT, container(CLIENT, "sleep", "infinity"))


@contextmanager
def applied(lab: Lab, namespace: str, *objects: Manifest) -> Iterator[None]:
    """These are there while the block runs."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl("-n", namespace, "delete", "-f", "-", stdin=manifest)


def until_usable(lab: Lab, namespace: str) -> None:
    """Wait until a new namespace has the account that pods are made with."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    wait_until(lambda: lab.api.get(path) is not None, COUNTED_TIMEOUT_S, "the namespace's service account")


def until_counted(lab: Lab, namespace: str, quota: str) -> None:
    """Wait until a ResourceQuota has been counted: until then it is refused with other words."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/{quota}"
    wait_until(lambda: "used" in lab.api.get(path).get("status", {}), COUNTED_TIMEOUT_S, "the quota to be counted")


@contextmanager
def namespace(lab: Lab, name: str, *objects: Manifest, labels: Mapping[str, str] = {}) -> Iterator[str]:
    """A namespace with these objects, their pods ready; it is told to go when the block ends."""
    wait_until(lambda: lab.api.get(f"/api/v1/namespaces/{name}") is None, GONE_TIMEOUT_S, f"an earlier {name} to go")
    itself = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
    items = [itself, *(one | {"metadata": {**one["metadata"], "namespace": name}} for one in objects)]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    try:
        rollout = ["rollout", "status", f"--timeout={ROLLOUT_TIMEOUT_S:.0f}s", "deployment"]
        lab.kubectl("-n", name, *rollout, timeout_s=ROLLOUT_TIMEOUT_S + 10)
        yield name
    finally:
        lab.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def shell_server(lab: Lab, namespace: str, name: str, port: int, script: str) -> Iterator[None]:
    """A pod that runs `script` for each connection to the port of either family, from when it listens."""
    serve = f"TCP6-LISTEN:{port},fork,reuseaddr,ipv6only=0"
    made = container(name, "socat", serve, f"SYSTEM:{script}", ports={"tcp": port})
    made["startupProbe"] = made.pop("readinessProbe")  # once it listens, nobody else connects
    spec = {"securityContext": POD_SECURITY, "containers": [made]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(pod))
    try:
        lab.kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=100s", f"pod/{name}")
        yield
    finally:
        lab.kubectl("-n", namespace, "delete", "pod", name, "--grace-period=0", "--wait=false")


def netns(lab: Lab, namespace: str, app: str = CLIENT) -> Path:
    """The network namespace of the one pod of an app: what is done in there, the pod does."""
    [pod] = lab.api.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{app}")["items"]
    return lab.pod_netns(pod["status"]["podIP"])
