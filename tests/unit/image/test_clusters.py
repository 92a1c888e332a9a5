from typing import Any

import pytest

from ktpy.errors import ImageNotLoaded
from ktpy.image import clusters
from ktpy.image.clusters import LocalCluster, of_context

ELSEWHERE = "https://192.0.2.1:6443"
MINIKUBE = {"extensions": [{"name": "context_info", "extension": {"provider": "minikube.sigs.k8s.io"}}]}


@pytest.fixture(autouse=True)
def socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> str:
    """The socket of a containerd that runs here."""
    path = tmp_path / "containerd.sock"
    path.touch()
    monkeypatch.setattr(clusters, "SOCKETS", (str(tmp_path / "absent"), str(path)))
    return str(path)


@pytest.mark.parametrize(
    ("name", "context", "command"),
    [
        ("kind-two", {}, "kind load image-archive F --name two"),
        ("k3d-dev", {}, "k3d image import F --cluster dev"),
        ("work", MINIKUBE, "minikube image load F --profile work"),
        ("microk8s", {}, "microk8s ctr image import F"),
    ],
)
def test_contexts_of_clusters_in_containers(name: str, context: Any, command: str) -> None:
    assert " ".join(of_context(name, context, ELSEWHERE).command("F")) == command


def test_containerd_of_a_cluster_whose_api_server_is_here(socket: str) -> None:
    for server in ("https://127.0.0.1:6443", "https://[::1]:6443"):
        found = of_context("default", {}, server)
        assert found.command("F") == ["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "F"]
    for context in ({}, {"extensions": [{"extension": {"provider": "gke"}}, None]}):
        with pytest.raises(ImageNotLoaded, match="nor of a containerd on this machine") as refused:
            of_context("gke", context, ELSEWHERE)
        assert "ktpy image push REGISTRY/NAME" in str(refused.value.hint)


def test_by_sudo_where_the_socket_is_roots() -> None:
    assert LocalCluster("containerd", "/run/k3s/absent").command("F")[:3] == ["sudo", "k3s", "ctr"]


def test_programs_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nope")
    for cluster, program in ((LocalCluster("kind", "a"), "kind"), (LocalCluster("containerd", "/absent"), "sudo")):
        with pytest.raises(ImageNotLoaded, match=f"There is no {program} on the PATH"):
            cluster.require()
