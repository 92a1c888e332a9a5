"""Linux namespaces: entering and making them, and mounts inside them.

Python has `os.setns` and `os.unshare` from 3.12 on; the project starts at 3.11, hence ctypes.
Never `ip netns exec`: it remounts /sys and hides the cgroups.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(path: Path) -> None:
    """Move the calling thread into the namespace that `path` stands for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(descriptor, 0), f"setns {path}")
    finally:
        os.close(descriptor)


def unshare(flags: int) -> None:
    """Give the calling process new namespaces (a new pid namespace: its next children)."""
    _checked(_libc.unshare(flags), "unshare")


@contextlib.contextmanager
def inside_netns(path: Path) -> Iterator[None]:
    """Run a block with this thread in a network namespace; sockets made there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(path)
        try:
            yield
        finally:
            _checked(_libc.setns(home, CLONE_NEWNET), "setns back")
    finally:
        os.close(home)


def stream_socket(netns: Path, address: tuple[str, int], timeout_s: float, source_port: int = 0) -> socket.socket:
    """A TCP connection made in another network namespace, from any ephemeral port or this one; OSError as usual."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with inside_netns(netns):
        connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        if source_port:
            connection.bind(("", source_port))
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def mount(*arguments: str | Path) -> None:
    """mount(8), which knows every option by name."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def mount_points() -> list[str]:
    """Every mount point of this mount namespace, a stacked one as often as it is mounted (proc_pid_mountinfo(5))."""
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def make_mounts_private() -> None:
    """Keep what is mounted from here on out of the namespace this one was copied from."""
    mount("--make-rprivate", "/")


def set_hostname(name: str) -> None:
    socket.sethostname(name)
