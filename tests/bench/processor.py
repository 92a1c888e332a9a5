"""How much processor time a transfer takes, of ktpy and of what it passes in the cluster, as the kernel counts it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.bench.errors import BenchError

HELPER = "helper"
AGENT = "agent"
"""ktpy's own in the pod; the relay of connections that are kept is part of it."""
IN_THE_CLUSTER = ("sshd", "kubelet", "kube-apiserver", "containerd")

Seconds = dict[str, float]
"""By whom, "" for who carries the traffic on the laptop."""


def seconds_of(stat: str) -> float:
    """Seconds of user and system time in a line of /proc/PID/stat (proc(5)), whose second field may hold anything."""
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def part_of(command: str, arguments: str) -> str | None:
    """Whose time counts beside the carrier's, by the process's name and command line."""
    if "\0ktpy.helper\0" in f"{arguments}\0":
        return HELPER
    if "/ktpy-agent\0" in f"{arguments}\0":
        return AGENT
    return next((name for name in IN_THE_CLUSTER if command == name or command.startswith(f"{name}-")), None)


def spent(lab_name: str, carrier_pid: int) -> Seconds:
    """What each has used since it began, of one lab."""
    seconds: Seconds = {}
    for process in _processes(lab_name, carrier_pid):
        command, arguments = (process / "comm").read_text().strip(), (process / "cmdline").read_text()
        part = "" if process.name == str(carrier_pid) else part_of(command, arguments)
        if part is not None:
            seconds[part] = seconds.get(part, 0.0) + seconds_of((process / "stat").read_text())
    return seconds


def _processes(lab_name: str, carrier_pid: int) -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if process.name == str(carrier_pid) or f"/ktpy-lab-{lab_name}/" in (process / "cgroup").read_text():
                yield process


def per_gigabyte(figure: str, before: Seconds, after: Seconds, byte_count: int) -> dict[str, float]:
    """The figure and its parts, in processor seconds per GB (10^9 bytes). BenchError when nothing was carried."""
    if not byte_count:
        raise BenchError("nothing arrived")
    return {
        f"{figure}/{part}" if part else figure: (seconds - before[part]) / byte_count * 1e9
        for part, seconds in after.items()
        if part in before
    }
