"""Where the matrix is run: each command has a laptop and a namespace of its own, so that what is left is its own.

The first laptop is connect's, as only that one has a resolver.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.cluster_state import DEPLOYMENT, SERVICE, answer, essence, ktpys
from tests.chaos.laptop_state import Running, processes
from tests.chaos.matrix import Hold
from tests.e2e.kit import workloads
from tests.e2e.kit.target_service import KTPYS
from tests.lab import Lab, LabError
from tests.lab.layout import REPOSITORY
from tests.lab.processes import kill_and_wait, wait_until
from tests.lab.sessions.local_server import LocalServer, serving

LOCAL_PORT = 3001
PREVIEW = "mine"
"""Also the name that the mesh is for, and what a dev container answers."""
ORIGINAL = "original"
SWEEP_TIMEOUT_S = 90.0
GONE_TIMEOUT_S = 300.0
KILL_TIMEOUT_S = 10.0
SERVER = ("python3", "/code/server.py", "http")
FURNISH = """
set -e
mkdir -p -m 755 /var/lib/ktpy
mount -t tmpfs -o size=4m,mode=755 chaos /var/lib/ktpy
owner=$(stat -c %u:%g /home/dev)
cp -a /home/dev /run/lab/home
mount -t tmpfs -o size=32m,mode=700 chaos /home/dev
chown "$owner" /home/dev
cp -a /run/lab/home/. /home/dev/
rm -r /run/lab/home
"""
"""Disks that can be filled; they are called chaos."""
CLEAR = """
for folder in /home/dev /var/lib/ktpy; do
  while findmnt -no SOURCE $folder | tail -1 | grep -qx chaos; do umount -l $folder; done
done
"""


@dataclass
class Lane:
    """One command's. `host` is the Service's address; `points` has by state where the command can be held."""

    lab: Lab
    command: str
    host: str
    points: dict[str, list[Hold]] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return namespace_of(self.command)

    @property
    def service_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/{SERVICE}"

    @property
    def clock_file(self) -> Path:
        """What libfaketime reads the time from, where a cell is about that; users of the laptop can read it."""
        return self.lab.state_dir / f"chaos-{self.command}-clock"

    def processes(self) -> list[Running]:
        """All on the laptop, and what has left its namespaces."""
        return processes(self.lab, self.command)

    def sweep(self) -> None:
        """Have nothing of ktpy's on the laptop and in the namespace, whatever is there. LabError when that fails."""
        kill_and_wait([running.record.pid for running in self.processes()], KILL_TIMEOUT_S)
        for user in ("dev", "root"):
            self.lab.exec(["ktpy", "clean", "-n", self.namespace], user=user)
            self.lab.exec(["ktpy", "status"], user=user)
        if not ktpys(self.lab, self.namespace):
            return
        self.lab.exec(["ktpy", "recover", SERVICE, "-n", self.namespace, "--evict"])
        self.lab.exec(["ktpy", "dev", "reset", DEPLOYMENT, "-n", self.namespace])
        kinds = "jobs,deployments,services,leases,ingresses,pods"
        self.lab.kubectl("-n", self.namespace, "delete", kinds, "-l", KTPYS, "--wait=false")
        wait_until(lambda: not ktpys(self.lab, self.namespace), SWEEP_TIMEOUT_S, "what was left to go")


def namespace_of(command: str) -> str:
    return f"chaos-{command}"


def manifests(namespace: str) -> list[workloads.Manifest]:
    """A Service and its Deployment, whose pod ends slowly, as pods should."""
    made = workloads.container("web", *SERVER, ORIGINAL, ports={"http": 8080})
    made["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    pods = workloads.deployment(DEPLOYMENT, made, code="server")
    pods["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10
    objects = [
        workloads.code("server", server=REPOSITORY / "tests/demo/server.py"),
        pods,
        workloads.service(SERVICE, {"name": "http", "port": 80, "targetPort": 8080}, app=DEPLOYMENT),
    ]
    return [one | {"metadata": {**one["metadata"], "namespace": namespace}} for one in objects]


@contextmanager
def lanes(lab: Lab, wanted: Sequence[str]) -> Iterator[list[Lane]]:
    """Those of the commands wanted, connect first, with nothing of ktpy's there; all is gone afterwards."""
    laptops = lab.laptops(len(wanted))
    namespaces = [namespace_of(command) for command in wanted]
    lab.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", timeout_s=GONE_TIMEOUT_S)  # earlier ones
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in namespaces]
    items += [one for name in namespaces for one in manifests(name)]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    try:
        made = []
        for name, command, laptop in zip(namespaces, wanted, laptops, strict=True):
            lab.kubectl("-n", name, "rollout", "status", "--timeout=100s", f"deployment/{DEPLOYMENT}")
            host = answer(lab, f"/api/v1/namespaces/{name}/services/{SERVICE}")["spec"]["clusterIP"]
            made.append(Lane(laptop, command, host))
        for lane in made:
            lane.lab.exec(["sh", "-c", CLEAR])  # of a run that was killed
            done = lane.lab.exec(["sh", "-c", FURNISH])
            if done.returncode != 0:
                raise LabError(f"the laptop of {lane.command} has no disks of its own: {done.stderr.strip()}")
            lane.sweep()
        yield made
    finally:
        for laptop in laptops:
            laptop.exec(["sh", "-c", CLEAR])
        lab.kubectl("delete", "namespace", *namespaces, "--wait=false", "--ignore-not-found")


@contextmanager
def local_port(lane: Lane) -> Iterator[LocalServer]:
    """The developer's program."""
    with serving(lane.lab, LOCAL_PORT, "local") as server:
        yield server


def workload(lane: Lane) -> list[str]:
    """What is compared of the Service and the Deployment."""
    deployment = f"/apis/apps/v1/namespaces/{lane.namespace}/deployments/{DEPLOYMENT}"
    return [line for path in (lane.service_path, deployment) for line in essence(answer(lane.lab, path))]
