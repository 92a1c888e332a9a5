"""What is loaded: one pod (server.py) behind one Service, in a namespace of the bench's own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.server import ECHO_PORT, HTTP_PORT, SINK_PORT, SOURCE_PORT
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE

NAMESPACE = "ktpy-bench"
NAME = "target"
FULL_NAME = f"{NAME}.{NAMESPACE}.svc.cluster.local"
PORTS = (HTTP_PORT, SOURCE_PORT, SINK_PORT, ECHO_PORT)
READY_TIMEOUT_S = 60
GONE_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Target:
    cluster_ip: str
    sshuttle_ip: str  # the same pod by another cluster IP, so that sshuttle and ktpy can run side by side


def manifests() -> list[dict[str, Any]]:
    """Namespace, code, pod, and its services."""
    code = (Path(__file__).parent / "server.py").read_text(encoding="utf-8")
    metadata = {"namespace": NAMESPACE}
    container = {
        "name": NAME,
        "image": WORKLOAD_IMAGE,
        "command": ["python3", "/code/server.py"],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
        "readinessProbe": {"tcpSocket": {"port": HTTP_PORT}, "periodSeconds": 1},
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "code", "configMap": {"name": "code"}}],
    }
    ports: list[dict[str, Any]] = [{"name": f"port-{port}", "port": port} for port in PORTS]
    ports += [{"name": f"udp-{port}", "port": port, "protocol": "UDP"} for port in (SINK_PORT, ECHO_PORT)]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata | {"name": "code"}, "data": {"server.py": code}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata | {"name": NAME, "labels": {"app": NAME}},
            "spec": pod,
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata | {"name": name},
                "spec": {"selector": {"app": NAME}, "ports": ports},
            }
            for name in (NAME, f"{NAME}-sshuttle")
        ),
    ]


def remove(lab: Lab) -> None:
    """The namespace with all that is in it; no-op when there is none."""
    arguments = ["delete", "namespace", NAMESPACE, "--ignore-not-found", f"--timeout={GONE_TIMEOUT_S}s"]
    lab.kubectl(*arguments, timeout_s=GONE_TIMEOUT_S + 5)


def apply(lab: Lab, objects: list[dict[str, Any]], *pods: str) -> None:
    """Make the objects, and wait until the pods among them are ready."""
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    wait = ["wait", "pod", *pods, "--for=condition=Ready", f"--timeout={READY_TIMEOUT_S}s"]
    lab.kubectl("-n", NAMESPACE, *wait, timeout_s=READY_TIMEOUT_S + 5)


def deploy(lab: Lab) -> Target:
    """The target, ready. `remove` undoes it."""
    apply(lab, manifests(), NAME)
    return Target(cluster_ip(lab, NAME), cluster_ip(lab, f"{NAME}-sshuttle"))


def cluster_ip(lab: Lab, service: str) -> str:
    found = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{service}")
    assert found is not None
    return str(found["spec"]["clusterIP"])
