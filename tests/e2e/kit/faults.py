"""What goes wrong around ktpy: a server that says nothing, a cable that is pulled."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import Lab, network
from tests.lab.namespaces import inside_netns


@contextmanager
def silent_server(netns: Path) -> Iterator[int]:
    """A port of this network namespace, on every address, that takes connections and never says a word."""
    with inside_netns(netns):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextmanager
def unplugged(lab: Lab) -> Iterator[None]:
    """The cable between laptop and node is out while the block runs."""
    network.set_link(lab.layout, up=False)
    try:
        yield
    finally:
        network.set_link(lab.layout, up=True)


@contextmanager
def stranger(lab: Lab, name: str = "eve", *, sudo_commands: str = "") -> Iterator[str]:
    """A user of the laptop who has no kubeconfig, and may use sudo for nothing but these commands (sudoers(5))."""
    rules = f"/etc/sudoers.d/{name}"
    lab.exec(["useradd", "--create-home", "--no-log-init", name], check=True)
    try:
        if sudo_commands:
            write = f"cat > {rules} && chmod 440 {rules}"
            lab.exec(["sh", "-c", write], stdin=f"{name} ALL=(root) NOPASSWD: {sudo_commands}\n", check=True)
        yield name
    finally:
        lab.exec(["rm", "-f", rules], check=True)
        lab.exec(["userdel", "--remove", name], check=True)


def pod_processes(lab: Lab, pod: str, title: str) -> list[int]:
    """Processes of this pod whose command line begins so, by the machine's pids."""
    [found] = [one for one in lab.api.get("/api/v1/pods")["items"] if one["metadata"]["name"] == pod]
    uid = found["metadata"]["uid"].replace("-", "")
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            in_pod = uid in (process / "cgroup").read_text().replace("_", "").replace("-", "")
            if in_pod and (process / "cmdline").read_bytes().startswith(title.encode()):
                pids.append(int(process.name))
    assert pids, f"no {title} in the pod"
    return pids


def kill_in_pod(lab: Lab, pod: str, title: str) -> None:
    """SIGKILL to its processes whose command line begins so; one may take others along."""
    for pid in pod_processes(lab, pod, title):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
