"""`ktpy forward` beside `kubectl port-forward`: the same ports of the laptop, and a pod that is replaced meanwhile."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.bench import contenders
from tests.bench import target as bench_target
from tests.bench.background import background
from tests.bench.contenders import Contender
from tests.bench.errors import BenchError
from tests.bench.loading import on_laptop, on_node
from tests.bench.server import HTTP_PORT
from tests.bench.specs import KTPY
from tests.bench.target import NAME, NAMESPACE, PORTS, Target
from tests.lab import Lab
from tests.lab.processes import wait_until

REQUESTS = 20
"""Of each way, after the pod was replaced."""
STEADY = 5
BACK_TIMEOUT_S = 40.0
DELETE_TIMEOUT_S = 60


@contextmanager
def ktpy(lab: Lab) -> Iterator[Contender]:
    """`ktpy forward` of all ports of the target's Service."""
    words = ["ktpy", "forward", NAME, *(f":{port}" for port in PORTS), "--namespace", NAMESPACE, "--output", "json"]
    with background(lab, words) as session:
        [(line,)] = session.wait_for(r'^(\{.*"kind": "ready".*\})$')
        status = json.loads(line)["status"]
        found = {
            one["port"]: ("127.0.0.1", one["local_port"]) for one in status["forwards"] if one["protocol"] == "TCP"
        }
        yield Contender(KTPY, found, pid=status["pid"])


@contextmanager
def both(lab: Lab) -> Iterator[list[Contender]]:
    """Both ways, side by side."""
    with ktpy(lab) as forward, contenders.port_forward(lab) as kubectl:
        yield [forward, kubectl]


def broken(lab: Lab, target: Target, ways: Sequence[Contender]) -> dict[str, int]:
    """Replace the pod between two requests of each way; return how many of those afterwards break, by their names."""
    for way in ways:
        if _broken(lab, way, 1):
            raise BenchError(f"{way.name} does not lead to the target")
    lab.kubectl(
        "-n", NAMESPACE, "delete", "pod", NAME, f"--timeout={DELETE_TIMEOUT_S}s", timeout_s=DELETE_TIMEOUT_S + 5
    )
    bench_target.deploy(lab)
    # What is counted is what the ways make of it, not how long the Service takes to lead to another pod.
    wait_until(lambda: _leads_to_it(lab, target), BACK_TIMEOUT_S, "the service to lead to the new pod")
    return {way.name: _broken(lab, way, REQUESTS) for way in ways}


def _leads_to_it(lab: Lab, target: Target) -> bool:
    with suppress(BenchError):
        return not on_node(lab, "broken", target.cluster_ip, HTTP_PORT, STEADY)
    return False


def _broken(lab: Lab, way: Contender, count: int) -> int:
    return int(on_laptop(lab, "broken", *way.addresses[HTTP_PORT], count))
