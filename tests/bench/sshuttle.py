"""sshuttle as a baseline. It wants an sshd with a shell and Python: a pod of its own, behind a `kubectl port-forward`.

sshuttle catches connections by NAT rules in the laptop's network namespace. It is told of one cluster IP only, one that
nothing else uses, so it stands beside ktpy without either seeing the other's traffic.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.background import background
from tests.bench.cases import SSHUTTLE
from tests.bench.contenders import Contender, forwarding
from tests.bench.target import NAMESPACE, PORTS, Target, apply
from tests.lab import Lab, cache, debian
from tests.lab.images import write_docker_archive
from tests.lab.report import say

IMAGE = "localhost/ktpy-bench-sshd:1"
PACKAGES = ["openssh-server", "python3"]
NAME = "sshd"
PORT = 2222
SERVE = f"""
mkdir -p /run/sshd /root/.ssh && cp /keys/authorized /root/.ssh/authorized_keys && ssh-keygen -A > /dev/null
exec /usr/sbin/sshd -D -e -p {PORT} -o UsePAM=no -o PermitRootLogin=prohibit-password
"""


def _image() -> Path:
    def make(directory: Path) -> None:
        say(f"making the image {IMAGE} for sshuttle, once: up to a minute")
        layer = directory / "layer.tar"
        debian.bootstrap(layer, variant="essential", packages=PACKAGES)
        write_docker_archive(directory / "image.tar", IMAGE, layer, entrypoint=[])
        layer.unlink()

    inputs = [IMAGE, debian.base_release(), debian.architecture(), *PACKAGES]
    return cache.artifact("bench-sshd", inputs, make) / "image.tar"


def manifests(public_key: str) -> list[dict[str, Any]]:
    """The pod, and the one key that it lets in."""
    metadata = {"namespace": NAMESPACE, "name": NAME}
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": NAME,
                "image": IMAGE,
                "command": ["sh", "-c", SERVE],
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            }
        ],
        "volumes": [{"name": "keys", "configMap": {"name": NAME}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"authorized": public_key}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ]


@contextmanager
def sshuttle(lab: Lab, target: Target) -> Iterator[Contender]:
    """sshuttle to its pod; BenchError or LabError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="ktpy-bench-") as directory:
        key = Path(directory) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        lab.load_image(_image())
        apply(lab, manifests(key.with_suffix(".pub").read_text()), NAME)
        with forwarding(lab, NAME, (PORT,)) as (addresses, _):
            host, port = addresses[PORT]
            trust = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
            remote = ["--remote", f"root@{host}:{port}", "--ssh-cmd", f"ssh -i {key} {trust}"]
            command = ["sshuttle", "--method", "nat", "--disable-ipv6", *remote, f"{target.sshuttle_ip}/32"]
            with background(lab, command, user="root") as process:
                process.wait_for(r"Connected to server\.")
                yield Contender(SSHUTTLE, {port: (target.sshuttle_ip, port) for port in PORTS}, process.process.pid)
