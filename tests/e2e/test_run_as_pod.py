"""`ktpy run` with a real service: a program that needs all that its pod has, unchanged, debugged, and in the traffic.

Its user is no administrator, but has the rights that docs/team.md asks for.
"""

import hashlib
import hmac
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ktpy.cluster import rbac
from tests.demo import till
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import as_before, until_reached
from tests.e2e.kit.workloads import applied, code, container, deployment, service
from tests.kit.debug_adapter import Debugger
from tests.lab import Lab
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "alice@example.org"
KEY = "a key of the shop's"
BOOK_FOLDER = "/var/lib/kubelet/till"
"""On the node, whose own this folder is."""
PROGRAM = Path(till.__file__)
BREAKPOINT = next(number for number, line in enumerate(PROGRAM.read_text().splitlines(), 1) if "total = " in line)
DEBUG_PORT = 5678


def claim() -> list[dict[str, Any]]:
    """A claim for one node's pods, and the volume that it has."""
    size = {"storage": "1Mi"}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    of_node = {"capacity": size, "hostPath": {"path": BOOK_FOLDER}, "persistentVolumeReclaimPolicy": "Retain"}
    wanted = {"resources": {"requests": size}, "volumeName": "till"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "till"}, "spec": {**common, **of_node}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "till"},
            "spec": {**common, **wanted},
        },
    ]


def account() -> list[dict[str, Any]]:
    """A service account that may list pods."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "till"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    of_rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "till"}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "till"}},
        {**of_rights, "kind": "Role", "rules": rules},
        {**of_rights, "kind": "RoleBinding", "roleRef": role, "subjects": [{"kind": "ServiceAccount", "name": "till"}]},
    ]


def pods() -> dict[str, Any]:
    """What the program's pod is given. Another version runs there: the workload image has no client library."""
    one = container("till", "python3", "/code/server.py", "http", "till", ports={"http": 8080})
    made = deployment("till", one, code="till-code")
    spec = made["spec"]["template"]["spec"]
    spec |= {"serviceAccountName": "till", "automountServiceAccountToken": True}
    spec["volumes"] += [
        {"name": "settings", "configMap": {"name": "till"}},
        {"name": "book", "persistentVolumeClaim": {"claimName": "till"}},
    ]
    spec["containers"][0]["volumeMounts"] += [
        {"name": "settings", "mountPath": "/etc/till"},
        {"name": "book", "mountPath": "/var/lib/till"},
    ]
    spec["containers"][0]["env"] = [
        {"name": "TILL_KEY", "valueFrom": {"secretKeyRef": {"name": "till", "key": "key"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    return made


@pytest.fixture(scope="module")
def till_service(lab: Lab, shop: Shop) -> Iterator[str]:
    """Its address."""
    lab.node("sh", "-c", f"mkdir -p {BOOK_FOLDER}; echo opened > {BOOK_FOLDER}/book; chmod -R a+rwX {BOOK_FOLDER}")
    settings = {"settings.yaml": "currency: EUR\nprice: 7\n"}
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "till"}, "data": settings},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "till"}, "stringData": {"key": KEY}},
        code("till-code", server=PROGRAM.with_name("server.py")),
        *claim(),
        *account(),
        pods(),
        service("till", {"name": "http", "port": 80, "targetPort": 8080}),
    ]
    with applied(lab, NAMESPACE, *objects):
        lab.kubectl("-n", NAMESPACE, "rollout", "status", "--timeout=110s", "deployment/till")
        yield shop.service("till").ipv4


@pytest.mark.usefixtures("till_service")
def test_a_claim_is_read_and_written_through(lab: Lab) -> None:
    """At once, both ways, under the rights of a run. Nothing else is left in the claim."""
    in_claim = f"cd {BOOK_FOLDER}; "
    waits = "cat book; echo mine > mine; echo ready; until [ -e other ]; do sleep 0.05; done; rm other; stat -fc %T ."
    run = ["ktpy", "run", "till", "-n", NAMESPACE, "--volumes", "live", "--kubeconfig", str(lab.kubeconfig(USER))]
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True)):
        program = Foreground(lab, [*run, "--", "sh", "-c", f"cd /var/lib/till; {waits}"])
        try:
            program.wait_for("ready")
            assert "opened" in program.output
            assert lab.node("sh", "-c", f"{in_claim} cat mine") == "mine\n"
            lab.node("sh", "-c", f"{in_claim} echo by another > new; mv new other")  # whole from the first moment
            assert program.wait_ended() == 0
            assert ("fuseblk" in program.output) == Path("/dev/fuse").exists()
        finally:
            program.end()
    found = lab.node("sh", "-c", f"{in_claim} ls -A; cat mine")
    assert found.split() == ["book", "mine", "mine"], program.output
    lab.node("sh", "-c", f"{in_claim} rm mine")


def receipt(number: int) -> list[str]:
    """All but its last line."""
    seal = hmac.new(KEY.encode(), str(number).encode(), hashlib.sha256).hexdigest()[:8]
    return [f"number {number}", "catalog", "store", "total 14 EUR", "1 till(s)", f"seal {seal}"]


def test_it_runs_unchanged_is_debugged_and_serves_a_share(lab: Lab, laptop: Laptop, till_service: str) -> None:
    """Who asks with its header waits while it stands at a breakpoint, and everybody else has the pod."""

    def ask_till(**headers: str) -> list[str]:
        return ask(lab.layout.node_netns_path, till_service, headers, timeout_s=SOON_S)[1].splitlines()

    def get(**headers: str) -> str:
        return ask_till(**headers)[0].split()[0]

    rights = rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True, intercept=True)
    share = ("--exchange", "80", "--mesh", "alice", "--kubeconfig", str(lab.kubeconfig(USER)))
    debugged = ("python", "-m", "debugpy", "--listen", str(DEBUG_PORT), str(PROGRAM))
    with granted(lab, rights), as_before(lab, "till"):
        program = Foreground(lab, ["ktpy", "run", "till", "-n", NAMESPACE, *share, "--", *debugged])
        try:
            program.wait_for("the till is open")
            program.wait_for(f"Port {DEBUG_PORT} of the program")
            until_reached(lambda: get(VERSION="alice"), "number")
            *lines, printer = ask_till(VERSION="alice")
            number = int(lines[0].split()[1])
            assert lines == receipt(number)
            assert printer.startswith("printed by ktpy-shadow-")
            with laptop.connection("127.0.0.1", DEBUG_PORT) as connection, ThreadPoolExecutor() as others:
                debugger = Debugger(connection)
                debugger.attach(str(PROGRAM), BREAKPOINT)
                asked = others.submit(ask_till, VERSION="alice")
                assert debugger.variables_at_stop()["number"] == str(number + 1)
                assert get() == "till"
                assert not asked.done()
                debugger.go_on()
                assert asked.result() == [*receipt(number + 1), printer]
            program.process.send_signal(signal.SIGTERM)
            assert program.wait_ended() == 128 + signal.SIGTERM
        finally:
            program.end()
