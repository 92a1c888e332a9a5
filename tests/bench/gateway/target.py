"""What is intercepted: services before the bench's one pod. And who uses them: pods with the programs of `load/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import target as bench_target
from tests.bench.gateway.pods import Pod
from tests.bench.server import HTTP_PORT
from tests.bench.target import NAME, NAMESPACE, apply
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE

WEB = "web"  # is disturbed
BEHIND, STRAIGHT = "behind", "straight"  # the same pod with and without a gateway before it
PORT = 80
VISITORS = ("visitors-0", "visitors-1")
CODE_DIR = "/code"
PROGRAMS = ("server.py", "load/steady.py", "load/requests.py", "load/width.py")
"""Of tests/bench; in the pods they have the same module names."""


@dataclass(frozen=True, slots=True)
class Target:
    cluster_ips: dict[str, str]
    visitors: list[Pod]


def manifests() -> list[dict[str, Any]]:
    """What is added to the bench's own."""
    sources = Path(__file__).parents[1]
    keys = {program: program.replace("/", "-") for program in PROGRAMS}
    code = {key: (sources / program).read_text(encoding="utf-8") for program, key in keys.items()}
    items = [{"key": key, "path": f"tests/bench/{program}"} for program, key in keys.items()]
    metadata = {"namespace": NAMESPACE}
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "visitors",
                "image": WORKLOAD_IMAGE,
                "command": ["sleep", "infinity"],
                "volumeMounts": [{"name": "code", "mountPath": CODE_DIR}],
            }
        ],
        "volumes": [{"name": "code", "configMap": {"name": "programs", "items": items}}],
    }
    ports = [{"name": "http", "port": PORT, "targetPort": HTTP_PORT}]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata | {"name": "programs"}, "data": code},
        *({"apiVersion": "v1", "kind": "Pod", "metadata": metadata | {"name": name}, "spec": pod} for name in VISITORS),
        *(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata | {"name": name},
                "spec": {"selector": {"app": NAME}, "ports": ports},
            }
            for name in (WEB, BEHIND, STRAIGHT)
        ),
    ]


def deploy(lab: Lab) -> Target:
    """All of it, ready. `tests.bench.target.remove` undoes it."""
    apply(lab, [*bench_target.manifests(), *manifests()], NAME, *VISITORS)
    cluster_ips = {name: bench_target.cluster_ip(lab, name) for name in (WEB, BEHIND, STRAIGHT)}
    return Target(cluster_ips, [Pod.named(lab, name) for name in VISITORS])
