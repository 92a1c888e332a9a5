"""A cluster with very many services: what it costs the laptop to know their names."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import memory
from tests.bench.loading import ENVIRONMENT, command
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import USER, connecting

logger = logging.getLogger(__name__)

SERVICES = 10_000
FIGURE = f"memory-{SERVICES}-services-rss"
CHANGING = "memory-changing"
HELD, GROWN = f"{CHANGING}-held", f"{CHANGING}-grown"
PODS, CHANGES = 5_000, 30_000  # fifty a second for ten minutes, as fast as they are taken
NAMESPACE = "default"
MAKERS, CHUNK = 16, 100
READY_TIMEOUT_S = 60.0
CHANGES_TIMEOUT_S = 300.0
SETTLE_S = 1.0


def service(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """A headless one with one pod, and its EndpointSlice: where each is POSTed, and what.

    kube-proxy and the controllers leave these alone, and nobody has to find a cluster IP: it would take minutes more.
    """
    name = f"service-{number:05}"
    within = f"namespaces/{NAMESPACE}"
    spec = {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}
    yield f"/api/v1/{within}/services", {"metadata": {"name": name}, "spec": spec}
    endpoint = {
        "addresses": [f"10.244.{number >> 8}.{number & 255}"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": f"{name}-5d8f9c7b6-abcde"},
    }
    labels = {"kubernetes.io/service-name": name, "service.kubernetes.io/headless": ""}
    slice_of_it = {
        "metadata": {"name": f"{name}-x7d2f", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [endpoint],
    }
    yield f"/apis/discovery.k8s.io/v1/{within}/endpointslices", slice_of_it


@contextmanager
def crowded(name: str, archive: Path) -> Iterator[Lab]:
    """A lab of its own with the agent's image; to take all the services away again would take the API server minutes.

    It has no CoreDNS, so that nobody but ktpy knows the names.
    """
    try:
        lab = Lab.ensure_up(name)
        lab.load_image(archive)
        lab.kubectl("-n", "kube-system", "delete", "deployment", "coredns")
        logger.info("making %d services", SERVICES)
        makers = ThreadPoolExecutor(MAKERS)
        try:
            chunks = [range(first, first + CHUNK) for first in range(0, SERVICES, CHUNK)]
            list(makers.map(lambda chunk: lab.api.create(each for one in chunk for each in service(one)), chunks))
        finally:
            makers.shutdown(cancel_futures=True)
        yield lab
    finally:
        Lab(name).down()


def measure(lab: Lab) -> dict[str, float]:
    """Memory of a session that knows all names, in MB."""
    last = f"service-{SERVICES - 1:05}"
    with connecting(lab, "--namespace", NAMESPACE) as session:
        wait_until(lambda: lab.exec(["getent", "hosts", last], user=USER).returncode == 0, READY_TIMEOUT_S, last)
        time.sleep(SETTLE_S)
        return {FIGURE: memory.of_process(session.status()["pid"])["rss"]}


def measure_changes() -> dict[str, float]:
    """Memory of what knows all names while their pods change, in MB: what it takes, and by how much that grows."""
    program = command("changes", SERVICES, PODS, CHANGES)
    done = subprocess.run(
        program, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, check=True, timeout=CHANGES_TIMEOUT_S
    )
    return {f"{CHANGING}-{name}": value for name, value in json.loads(done.stdout).items()}
