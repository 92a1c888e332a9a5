"""Clusters on this laptop that take an image from an archive, each by its own command."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ktpy.errors import ImageNotLoaded
from ktpy.frozen import dataclass

SOCKETS: Final = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
_MINIKUBE: Final = "minikube.sigs.k8s.io"
_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A LocalCluster is of a kind: kind, k3d, minikube, microk8s or containerd.

    `name` is its own name, or the address of containerd's socket.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()

    def command(self, archive: str) -> list[str]:
        """Return what imports an archive."""
        match self.kind:
            case "kind":
                return ["kind", "load", "image-archive", archive, "--name", self.name or "kind"]
            case "k3d":
                return ["k3d", "image", "import", archive, "--cluster", self.name or "k3s-default"]
            case "minikube":
                return ["minikube", "image", "load", archive, "--profile", self.name or "minikube"]
            case "microk8s":
                return ["microk8s", "ctr", "image", "import", archive]
        address = self.name or SOCKETS[0]
        sudo = [] if os.access(address, os.R_OK | os.W_OK) else ["sudo"]
        ctr = ["k3s", "ctr"] if address.startswith("/run/k3s/") else ["ctr"]
        return [*sudo, *ctr, "--address", address, "--namespace", "k8s.io", "images", "import", archive]

    def require(self) -> None:
        """Raise ImageNotLoaded where the programs are not there that import an image."""
        words = self.command("")
        for one in words[: words.index("sudo") + 2] if "sudo" in words else words[:1]:
            if not shutil.which(one):
                raise ImageNotLoaded(f"There is no {one} on the PATH, by which the image is loaded into {self}.")

    def load(self, archive: Path) -> None:
        """Import an archive. A password is asked for on the terminal where sudo is needed. Raises ImageNotLoaded."""
        words = self.command(str(archive))
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[-_WORDS:]
            raise ImageNotLoaded(
                f"{' '.join(words[:4])} failed with exit code {done.returncode}: {said}.",
                hint=f"The whole command is: {' '.join(words)}",
            )


def of_context(name: str, context: Mapping[str, Any], server: str) -> LocalCluster:
    """Return the cluster of a context of the kubeconfig. Raises ImageNotLoaded where it is none of this laptop's."""
    for kind in ("kind", "k3d"):
        if name.startswith(f"{kind}-"):
            return LocalCluster(kind, name.removeprefix(f"{kind}-"))
    extensions = [one.get("extension") for one in context.get("extensions") or [] if isinstance(one, dict)]
    if any(isinstance(one, dict) and one.get("provider") == _MINIKUBE for one in extensions):
        return LocalCluster("minikube", name)
    if name == "microk8s":
        return LocalCluster("microk8s")
    address = next((one for one in SOCKETS if Path(one).exists()), None)
    if address is not None and _is_here(urlsplit(server).hostname or ""):
        return LocalCluster("containerd", address)
    raise ImageNotLoaded(
        f"Context {name} is of no kind, k3d, minikube or MicroK8s, nor of a containerd on this machine.",
        hint="Push the image to a registry that its nodes reach: ktpy image push REGISTRY/NAME. "
        "Or name a cluster: --kind, --k3d, --minikube, --microk8s, --containerd.",
    )


def _is_here(host: str) -> bool:
    """Tell whether an address is one of this machine's own: only such a one can be bound."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
