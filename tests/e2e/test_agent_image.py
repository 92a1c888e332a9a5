"""The agent image: built by scripts/build-agent-image, run by a real kubelet under Pod Security `restricted`."""

import json
import os
import re
import select
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ktpy
from ktpy.cluster.pods.shadow_manifest import shadow_job
from ktpy.wire.pod import SSHD_PORT
from tests.lab import Lab
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = f"ghcr.io/ktpy/agent:{ktpy.__version__}"
NAMESPACE = "agent-image"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def archive() -> Path:
    done = subprocess.run([REPOSITORY / "scripts/build-agent-image"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def files(archive: Path) -> dict[str, tarfile.TarInfo]:
    """Everything in the image's layers, by path."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(image.extractfile("manifest.json") or pytest.fail("no manifest"))
        found: dict[str, tarfile.TarInfo] = {}
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(image.getmember(name))) as layer:
                found |= {f"/{member.name.removeprefix('./')}": member for member in layer}
    return found


@pytest.fixture(scope="module")
def lab(lab: Lab) -> Iterator[Lab]:
    """The one that others share, which has the image."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    yield lab
    lab.kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "identity"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def pod_manifest(name: str, identity: Path) -> dict[str, Any]:
    """The pod that ktpy's own Job would make."""
    key = identity.with_suffix(".pub").read_text().strip()
    job = shadow_job(
        session="s1", owner="test", namespace=NAMESPACE, image=IMAGE, public_key=key, pod_timeout_s=PATIENCE_S
    )
    template = job["spec"]["template"]
    template["metadata"] |= {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", **template}


def start(lab: Lab, pod: dict[str, Any]) -> None:
    name = pod["metadata"]["name"]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    lab.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={PATIENCE_S}s")


@contextmanager
def port_forward(lab: Lab, name: str, port: int = SSHD_PORT) -> Iterator[int]:
    """The laptop's port that leads to a port of the pod, unless told otherwise its sshd's."""
    process = lab.popen(["kubectl", "-n", NAMESPACE, "port-forward", f"pod/{name}", f":{port}"])
    try:
        assert process.stdout
        assert select.select([process.stdout], [], [], PATIENCE_S)[0]
        match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert match
        yield int(match[1])
    finally:
        process.kill()
        process.wait()


def test_it_is_small(files: dict[str, tarfile.TarInfo]) -> None:
    assert sum(member.size for member in files.values()) < 60e6


def test_it_tells_nothing_of_the_machine_that_built_it(files: dict[str, tarfile.TarInfo]) -> None:
    assert not [path for path in files if path.startswith(("/etc/apt/", "/etc/ssh/ssh_host_", "/var/lib/apt/"))]
    assert not [path for path in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts") if _has_content(files, path)]


def _has_content(files: dict[str, tarfile.TarInfo], path: str) -> bool:
    return path in files and files[path].size > 0


def test_nobody_becomes_another_user_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    assert not [path for path, member in files.items() if member.isfile() and member.mode & 0o6000]


# Without a user, the image's own; and what OpenShift does: any uid, group 0.
@pytest.mark.parametrize("user", [{}, {"runAsUser": 1000690000, "runAsGroup": 0}], ids=["image-user", "any-user"])
def test_a_session_under_restricted(lab: Lab, identity: Path, user: dict[str, int]) -> None:
    pod = pod_manifest(f"session-{user.get('runAsUser', 'image')}", identity)
    pod["spec"]["securityContext"] |= user
    start(lab, pod)
    with port_forward(lab, pod["metadata"]["name"]) as port:
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        client = lab.popen(
            ["ssh", "-F", "none", "-T", "-i", str(identity), "-p", str(port), "ktpy@127.0.0.1"]
            + [word for option in options for word in ("-o", option)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdin
        assert client.stdout
        hello = json.loads(client.stdout.readline())
        client.stdin.close()
        client.wait(PATIENCE_S)
    assert (hello["version"], hello["agent"]) == (1, ktpy.__version__)
    assert hello["resolv_conf"]["search"][0] == f"{NAMESPACE}.svc.cluster.local"


def gateway_manifest(name: str, identity: Path) -> dict[str, Any]:
    """A preview's: a gateway that needs no original pods. It has the lowest port there is, and all IP versions."""
    pod = pod_manifest(name, identity)
    port = {"port": 80, "name": "http", "bind": 80, "protocol": "TCP", "http": True}
    spec = {"version": 1, "target": "web", "origin": None, "ports": [port]}
    pod["metadata"]["annotations"]["ktpy.dev/gateway"] = json.dumps(spec)
    pod["spec"]["restartPolicy"] = "Always"
    pod["spec"].pop("activeDeadlineSeconds", None)
    sysctls = pod["spec"]["securityContext"].setdefault("sysctls", [])
    sysctls.append({"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"})
    (container,) = pod["spec"]["containers"]
    container |= {
        "args": ["gateway"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 2223}, "periodSeconds": 1},
    }
    container.pop("startupProbe", None)
    container.pop("livenessProbe", None)
    return pod


@pytest.mark.parametrize("user", [{}, {"runAsUser": 1000690000, "runAsGroup": 0}], ids=["image-user", "any-user"])
def test_a_gateway_under_restricted(lab: Lab, identity: Path, user: dict[str, int]) -> None:
    pod = gateway_manifest(f"gateway-{user.get('runAsUser', 'image')}", identity)
    pod["spec"]["securityContext"] |= user
    start(lab, pod)
    with port_forward(lab, pod["metadata"]["name"], 80) as port:
        answer = lab.exec(["curl", "-s", f"http://127.0.0.1:{port}/"]).stdout
    assert answer == "preview web: no laptop is connected, so nothing serves port 80 now.\n"


def test_an_idle_gateway_needs_little_memory(lab: Lab, identity: Path) -> None:
    """The limit is on what its processes need, shared pages divided among them."""
    start(lab, gateway_manifest("gateway-memory", identity))
    proportional_kb = [int(line.split()[1]) for line in _smaps(lab, "gateway-memory") if line.startswith("Pss:")]
    assert len(proportional_kb) >= 4  # agent, HAProxy's master and worker, sshd
    assert sum(proportional_kb) < 40_000


def _smaps(lab: Lab, name: str) -> list[str]:
    """smaps_rollup of every process of a pod, seen from the node."""
    uid = lab.kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "jsonpath={.metadata.uid}")
    script = f"for p in $(grep -l {uid.replace('-', '_')} /proc/[0-9]*/cgroup; grep -l {uid} /proc/[0-9]*/cgroup); do"
    script += " p=${p%/cgroup}; grep -q pause $p/comm || cat $p/smaps_rollup; done"
    return lab.node("sh", "-c", script).splitlines()


def test_the_log_names_the_host_key(lab: Lab, identity: Path) -> None:
    pod = pod_manifest("host-key", identity)
    start(lab, pod)
    logs = partial(lab.kubectl, "-n", NAMESPACE, "logs", "host-key")
    named = re.compile(r"^ktpy-agent host-key ssh-ed25519 AAAA\S{64}$", re.MULTILINE)
    wait_until(lambda: named.search(logs()) is not None, PATIENCE_S, "the log to name it")


def test_a_pod_that_nobody_needs_is_done(lab: Lab, identity: Path) -> None:
    pod = pod_manifest("idle", identity)
    pod["spec"]["containers"][0]["env"] = [{"name": "KTPY_IDLE_S", "value": "0.5"}]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    lab.kubectl(
        "-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/idle", f"--timeout={PATIENCE_S}s"
    )
