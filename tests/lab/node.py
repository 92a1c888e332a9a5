"""The node, as the machine handles it: start it, run commands on it, load images, disturb it."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

from tests.lab import components, namespaces
from tests.lab.errors import LabError
from tests.lab.layout import Layout
from tests.lab.node_init import READY, pids_file
from tests.lab.processes import ProcessRecord, module_command, start_daemon, wait_until
from tests.lab.variant import Variant


def record(layout: Layout) -> ProcessRecord | None:
    """The node's pid 1, as the machine numbers it."""
    return ProcessRecord.read(layout.run_dir / "node")


def is_running(layout: Layout) -> bool:
    node = record(layout)
    return node is not None and node.alive()


def start(layout: Layout) -> None:
    for relative_path, text in components.configuration(layout, Variant.read(layout)).items():
        path = layout.node_dir / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    start_daemon(module_command("node_init", layout.name), log=layout.log_dir / "node.log", ready=READY)


def _command(layout: Layout, command: Sequence[str]) -> list[str]:
    node = record(layout)
    if node is None or not node.alive():
        raise LabError(f"the node of lab {layout.name!r} does not run: scripts/lab up")
    environment = f"PATH={components.program_path(layout)}"
    flags = [f"--{flag}" for flag in ("mount", "net", "pid", "uts", "ipc", "cgroup")]
    return ["nsenter", f"--target={node.pid}", *flags, "--wd=/", "env", environment, *command]


def replace_process(layout: Layout, command: Sequence[str]) -> NoReturn:
    """Become `command` on the node; exit code and terminal are its own."""
    arguments = _command(layout, command)
    os.execvp(arguments[0], arguments)


def run(layout: Layout, command: Sequence[str], stdin: IO[bytes] | None = None) -> str:
    """Run `command` on the node and return its output; LabError when it fails."""
    done = subprocess.run(
        _command(layout, command),
        stdin=stdin if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` on the node failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def wait_for_containerd(layout: Layout) -> None:
    path = Path(f"/proc/{_pid(layout)}/root{components.CONTAINERD_SOCKET}")
    wait_until(path.exists, 60, "containerd on the node")


def load_image(layout: Layout, archive: Path) -> None:
    """Import a docker or OCI archive into the node's containerd, where pods find it."""
    with archive.open("rb") as stream:
        run(
            layout,
            ["ctr", f"--address={components.CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", "import", "-"],
            stdin=stream,
        )


def pod_netns(layout: Layout, address: str) -> Path:
    """The network namespace of the pod with this IPv4 address."""
    for path in Path(f"/proc/{_pid(layout)}/root/run/netns").iterdir():
        with namespaces.inside_netns(path), socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, 0))  # to an address of one's own only
            return path
    raise LabError(f"no pod has the address {address}")


def restart_component(layout: Layout, name: str) -> None:
    """Kill one component and return once its successor runs.

    By SIGKILL: asked politely, the API server waits up to a minute for its watchers to leave.
    """
    before = _component_pid(layout, name)
    if before is None:
        raise LabError(f"{name} does not run")
    run(layout, ["kill", "-KILL", str(before)])
    wait_until(lambda: _component_pid(layout, name) not in (None, before), 90, f"{name} to be started again")


def _component_pid(layout: Layout, name: str) -> int | None:
    pid = json.loads(pids_file(layout).read_text()).get(name)
    return None if pid is None else int(pid)


def _pid(layout: Layout) -> int:
    node = record(layout)
    if node is None:
        raise LabError(f"the node of lab {layout.name!r} was never started")
    return node.pid
