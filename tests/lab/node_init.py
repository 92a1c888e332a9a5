"""The node's first process: makes the node's namespaces, then supervises its components as their pid 1.

When it dies, the kernel kills everything else in its pid namespace: containers, shims, components.

usage: python -m tests.lab.node_init NAME
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import cgroup, namespaces, network
from tests.lab.api import Api
from tests.lab.components import CONTAINERD_SOCKET, Component, Gate, components, program_path
from tests.lab.layout import NODE_NAME, Layout
from tests.lab.namespaces import mount
from tests.lab.processes import ProcessRecord
from tests.lab.variant import Variant

READY = "node namespaces made"
RESTART_DELAY_S = 0.3
GATE_INTERVAL_S = 0.1

# The kubelet sets these, for the whole machine. Here it gets files of its own to write to.
TUNABLES = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def pids_file(layout: Layout) -> Path:
    """The components' pids, as numbered on the node."""
    return layout.run_dir / "components.json"


def main(name: str) -> None:
    layout = Layout(name)
    cgroup.ControlGroups.read(layout.cgroups_file).join("node")
    hierarchies = cgroup.hierarchies(Path("/proc/self/cgroup").read_text())
    namespaces.setns(layout.node_netns_path)
    namespaces.unshare(
        namespaces.CLONE_NEWCGROUP
        | namespaces.CLONE_NEWNS
        | namespaces.CLONE_NEWUTS
        | namespaces.CLONE_NEWIPC
        | namespaces.CLONE_NEWPID
    )
    cgroup.settle_version_2(cgroup.ControlGroups.read(layout.cgroups_file).roots[0] / "node")
    pid = os.fork()
    if pid:
        ProcessRecord.of(pid).write(layout.run_dir / "node")
        print(READY, flush=True)
        return
    os.close(1)
    os.dup2(2, 1)
    namespaces.make_mounts_private()
    namespaces.set_hostname(NODE_NAME)
    _mount_file_systems(layout, hierarchies)
    network.apply_node_sysctls()
    Supervisor(layout).run()


def _mount_file_systems(layout: Layout, hierarchies: list[cgroup.Hierarchy]) -> None:
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", "/sys")
    cgroup.mount_all(hierarchies)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")  # xtables.lock, containerd's socket, pods' netns
    for directory in ("/run/netns", "/run/lock", "/run/proc"):
        Path(directory).mkdir()
    # In a user namespace proc is mounted only by who sees one already that nothing covers a part of (the kernel's
    # mnt_already_visible): the tunables below do that to /proc, and pods with `hostUsers: false` would not start.
    mount("-t", "proc", "proc", "/run/proc")
    # /var/lib gets private directories that need not exist on the machine; the lab's own state stays visible.
    node = layout.node_dir
    for name in ("var-lib", "var-lib-work", "log"):
        (node / name).mkdir()
    shelf = Path("/run/lab-state")
    shelf.mkdir()
    mount("--bind", layout.state_dir, shelf)
    Path("/run/var-lib").mkdir()
    mount("-t", "tmpfs", "tmpfs", "/var/lib")
    for path in (Path("/var/lib/kubelet"), Path("/var/lib/cni"), layout.state_dir):
        path.mkdir(parents=True)
    mount("--bind", shelf, layout.state_dir)
    (node / "kubelet").mkdir()
    mount("--bind", node / "kubelet", "/var/lib/kubelet")
    mount("--bind", node / "log", "/var/log")
    own = node / "tunables"
    own.mkdir()
    for tunable in TUNABLES:
        real = Path("/proc/sys") / tunable
        if real.exists():
            copy = own / real.name
            copy.write_text(real.read_text())
            mount("--bind", copy, real)
    mount("--make-rshared", "/")  # the kubelet's and the containers' mounts must reach each other


class Supervisor:
    """pid 1: starts components when their gate opens, again when they end, and reaps every orphan.

    One thread, woken by SIGCHLD or by the next due time.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[int, Component] = {}
        self._waiting: dict[Component, float] = dict.fromkeys(
            components(layout, Variant.read(layout)), 0.0
        )  # due time, monotonic seconds
        self._api = Api(Path("/proc/self/ns/net"), layout.pki_dir)
        self._environment = {"PATH": program_path(layout), "HOME": "/root"}

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            self._reap()
            self._start_due()
            if self._waiting:
                signal.sigtimedwait({signal.SIGCHLD}, GATE_INTERVAL_S)
            else:
                signal.sigwait({signal.SIGCHLD})

    def _reap(self) -> None:
        changed = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                component = self._running.pop(pid, None)
                if component is not None:
                    code = os.waitstatus_to_exitcode(status)
                    print(f"{component.name} ended with {code}: again in {RESTART_DELAY_S} s", flush=True)
                    self._waiting[component] = time.monotonic() + RESTART_DELAY_S
                    changed = True
        if changed:
            self._write_pids()

    def _start_due(self) -> None:
        open_gates: dict[Gate, bool] = {Gate.NONE: True}
        for component, due in list(self._waiting.items()):
            if time.monotonic() < due:
                continue
            if component.gate not in open_gates:
                open_gates[component.gate] = self._is_open(component.gate)
            if open_gates[component.gate]:
                del self._waiting[component]
                self._start(component)

    def _start(self, component: Component) -> None:
        with (self._layout.log_dir / f"{component.name}.log").open("ab") as log:
            process = subprocess.Popen(
                component.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd="/",
                start_new_session=True,
                preexec_fn=_unblock_signals,
            )
        self._running[process.pid] = component
        process.returncode = 0  # reaped here, by pid, not by the Popen object
        self._write_pids()

    def _write_pids(self) -> None:
        target = pids_file(self._layout)
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps({component.name: pid for pid, component in self._running.items()}))
        partial.rename(target)

    def _is_open(self, gate: Gate) -> bool:
        if gate is Gate.CONTAINERD:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(CONTAINERD_SOCKET) == 0
        return self._api.is_ready()


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    main(sys.argv[1])
