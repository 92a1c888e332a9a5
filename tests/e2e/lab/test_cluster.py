"""The cluster is a real one."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.errors import LabError
from tests.lab.images import COREDNS_IMAGE, PAUSE_IMAGE, WORKLOAD_IMAGE, write_docker_archive
from tests.lab.processes import wait_until


def test_pods_run_talk_and_resolve(lab: Lab) -> None:
    """The workload image has what it should; the cluster's DNS knows all of its zones."""
    script = (
        "python3 -c 'import asyncio, ssl, sqlite3' && which curl socat nc iperf3 > /dev/null && "
        "for name in kubernetes.default a.custom.cluster.local b.custom.corp v4only.outside.example;"
        "do getent ahostsv4 $name | head -1 | cut -d' ' -f1; done"
    )
    lab.kubectl(
        "run", "probe", f"--image={WORKLOAD_IMAGE}", "--image-pull-policy=Never", "--restart=Never",
        "--command", "--", "sh", "-c", script,
    )  # fmt: skip
    # Not `run --attach`: it shows only what the pod says from then on.
    lab.kubectl("wait", "pod/probe", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    assert lab.kubectl("logs", "probe").split() == ["10.96.0.1", "192.0.2.7", "192.0.2.7", "192.0.2.11"]
    lab.kubectl("delete", "pod", "probe", "--now")


def test_the_cluster_is_dual_stack(lab: Lab) -> None:
    (pod,) = lab.api.get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns")["items"]
    assert [":" in item["ip"] for item in pod["status"]["podIPs"]] == [False, True]


def test_a_user_without_rights_gets_those_that_are_bound(lab: Lab) -> None:
    path = lab.kubeconfig("alice", ["developers"])

    def list_pods() -> subprocess.CompletedProcess[str]:
        return lab.exec(["kubectl", "get", "pods", "-o", "name"], user="dev", env={"KUBECONFIG": str(path)})

    assert "forbidden" in list_pods().stderr
    lab.kubectl("create", "rolebinding", "developers", "--clusterrole=view", "--group=developers")
    try:
        wait_until(lambda: list_pods().returncode == 0, 60, "the binding to count")
    finally:
        lab.kubectl("delete", "rolebinding", "developers")


def test_a_loaded_image_is_there(lab: Lab, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer.tar", "w") as layer:
        layer.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    write_docker_archive(tmp_path / "image.tar", "localhost/loaded:1", tmp_path / "layer.tar", entrypoint=["/empty"])
    lab.load_image(tmp_path / "image.tar")
    images = lab.node("ctr", "--address=/run/containerd/containerd.sock", "-n", "k8s.io", "images", "ls", "-q")
    assert {"localhost/loaded:1", PAUSE_IMAGE, COREDNS_IMAGE, WORKLOAD_IMAGE} <= set(images.split())


def test_what_is_no_image_is_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"no tar at all")
    with pytest.raises(LabError, match="images import"):
        lab.load_image(tmp_path / "image.tar")


def test_the_kubelet_left_the_machines_settings_alone(lab: Lab) -> None:
    """It writes vm.overcommit_memory and others when it starts; the node shows it files of its own."""
    mounts = lab.node("cat", "/proc/self/mountinfo")
    assert " /proc/sys/vm/overcommit_memory " in mounts
