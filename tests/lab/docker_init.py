"""Starts Docker's engine on the laptop, and takes away what it leaves.

The engine has the laptop's network and /run, and process, mount and control-group namespaces of its own: the end of its
first process is that of every container, and of every mount. What it made in the laptop's network then goes by this
process, which ends with whoever started it; where it was killed itself, by the next one.

usage: python -m tests.lab.docker_init NAME, on the machine. Each line of its input is a daemon.json: an engine is
started by it, in the place of an earlier one. It answers READY.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from tests.lab import cgroup, debian, laptop, namespaces, unpacked
from tests.lab.errors import LabError
from tests.lab.layout import LAPTOP_USER, Layout
from tests.lab.namespaces import mount
from tests.lab.processes import ProcessRecord, die_with_parent, wait_until

KIND = "docker"  # the control group's name, too
READY = "Docker's engine answers"
SOCKET = Path("/run/docker.sock")
STATE = Path("/run/docker")
RUNTIMES = Path("/run/containerd"), Path("/run/runc")
CONFIGURATION = Path("/etc/docker")
CLIENT = laptop.LAB_BIN / "docker"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
WAS_FORWARDING = Path("/run/lab/ip_forward")
BRIDGE = re.compile(r"docker0|br-[0-9a-f]{12}")
NO_RULES = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*nat\nCOMMIT\n"
START_TIMEOUT_S = 30.0


def log_file(layout: Layout) -> Path:
    return layout.log_dir / "docker.log"


def main(name: str) -> None:
    layout = Layout(name)
    groups = cgroup.ControlGroups.read(layout.cgroups_file)
    groups.add(KIND)
    groups.join(KIND)
    hierarchies = cgroup.hierarchies(Path("/proc/self/cgroup").read_text())
    holder = ProcessRecord.read(laptop.record_file(layout))
    if holder is None or not holder.alive():
        raise LabError(f"lab {name!r} is not up")
    for kind in ("net", "uts", "mnt"):
        namespaces.setns(Path(f"/proc/{holder.pid}/ns/{kind}"))
    _clear(layout)
    engine = None
    try:
        WAS_FORWARDING.write_text(FORWARDING.read_text())
        root = unpacked.on_laptop(layout, KIND)
        unpacked.write_launcher(CLIENT, root / "usr/bin/docker", root)
        for settings in sys.stdin:
            _stop(engine)
            CONFIGURATION.mkdir(exist_ok=True)
            (CONFIGURATION / "daemon.json").write_text(settings)
            engine = os.fork()
            if engine == 0:
                _become_parent_of_engine(layout, hierarchies, groups.roots[0] / KIND)
            wait_until(_answers, START_TIMEOUT_S, "Docker's engine to answer")
            print(READY, flush=True)
    finally:
        _stop(engine)
        _clear(layout)


def _become_parent_of_engine(layout: Layout, hierarchies: list[cgroup.Hierarchy], group: Path) -> NoReturn:
    """Live as long as the engine, which is the first process of its namespaces."""
    die_with_parent()
    namespaces.unshare(
        namespaces.CLONE_NEWCGROUP | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWPID
    )
    cgroup.settle_version_2(group)
    engine = os.fork()
    if engine:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(engine, signal.SIGKILL))
        _, status = os.waitpid(engine, 0)
        os._exit(status != 0)
    die_with_parent()
    os.dup2(2, 1)
    namespaces.make_mounts_private()
    mount("-t", "proc", "proc", "/proc")
    cgroup.mount_all(hierarchies)
    STATE.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "tmpfs", STATE)
    root = unpacked.on_laptop(layout, KIND)
    command = [
        *(str(root / "usr/sbin/dockerd"), "--group", LAPTOP_USER, "--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--data-root", str(_data_dir(layout)), "--exec-root", str(STATE), "--pidfile", str(STATE / "pid")),
    ]
    path = f"{root}/usr/sbin:{root}/usr/bin:{debian.SYSTEM_PATH}"
    os.execve(command[0], command, {"PATH": path, "HOME": "/root", **unpacked.library_path(root)})


def _stop(engine: int | None) -> None:
    """End it and its containers at once; no-op when there is none."""
    if engine is not None:
        os.kill(engine, signal.SIGTERM)
        os.waitpid(engine, 0)
        SOCKET.unlink(missing_ok=True)


def _clear(layout: Layout) -> None:
    """Take away what an engine leaves; no-op when there was none."""
    shown = subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, check=True).stdout
    for name in (link["ifname"] for link in json.loads(shown)):
        if BRIDGE.fullmatch(name):
            subprocess.run(["ip", "link", "delete", name], check=True)
    for restore in ("iptables-restore", "ip6tables-restore"):
        subprocess.run([restore, "-w"], input=NO_RULES, text=True, check=True)
    with contextlib.suppress(FileNotFoundError):
        FORWARDING.write_text(WAS_FORWARDING.read_text())
    for file in (WAS_FORWARDING, CLIENT, SOCKET):
        file.unlink(missing_ok=True)
    for directory in (CONFIGURATION, STATE, *RUNTIMES, _data_dir(layout)):
        shutil.rmtree(directory, ignore_errors=True)


def _data_dir(layout: Layout) -> Path:
    return layout.state_dir / "docker-data"


def _answers() -> bool:
    request = b"GET /_ping HTTP/1.0\r\n\r\n"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(SOCKET))
        connection.sendall(request)
        return b" 200 " in connection.recv(100)
    return False


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LabError as error:
        sys.exit(str(error))
