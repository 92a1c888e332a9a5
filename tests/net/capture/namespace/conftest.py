"""A machine whose user `dev` may make namespaces and open the TUN device, as on most laptops."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.lab import namespaces, veils
from tests.lab.layout import REPOSITORY
from tests.net.helper.machine import Machine, machine

DEV, TMP = 4711, Path("/tmp")
ADDRESS = "192.168.77.2"
"""Of the machine on its own network."""


def open_up() -> None:
    """In the machine's mounts: let users pass to this Python and to the project, and open the TUN and FUSE devices.

    Its /tmp is its own: tests of other machines use the same names there.
    """
    device, shelf = Path("/dev/net/tun"), Path("/run/shelf")
    number = device.stat().st_rdev
    namespaces.mount("-t", "tmpfs", "tmpfs", device.parent)
    os.mknod(device, stat.S_IFCHR, number)
    device.chmod(0o666)
    if (fuse := Path("/dev/fuse")).exists():
        made = device.with_name("a-fuse")
        os.mknod(made, stat.S_IFCHR, fuse.stat().st_rdev)
        made.chmod(0o666)
        namespaces.mount("--bind", made, fuse)
    shelf.mkdir()
    kept = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix).resolve()]
    for directory, paths in veils.plan(kept, always=[TMP]).items():
        veils.draw(directory, paths, shelf)
    TMP.chmod(0o1777)


class Box(Machine):
    """A Box runs programs in networks of their own."""

    def command(self, *words: str, by: str = "a user") -> list[str]:
        """The command line of a program in a network of its own, from outside the box."""
        user = ["setpriv", f"--reuid={DEV}", f"--regid={DEV}", "--clear-groups"] if by == "a user" else []
        sudo = [f"SUDO_UID={DEV}"] if by == "sudo" else []
        python = ["env", f"PYTHONPATH={REPOSITORY}", "HOME=/tmp", *sudo, sys.executable]
        return [*self.prefix, *user, *python, "-m", "tests.net.capture.namespace.stage", *words]

    def stage(self, *words: str, by: str = "a user", stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A program in a network of its own, to its end."""
        command = self.command(*words, by=by)
        return subprocess.run(command, check=False, text=True, capture_output=True, input=stdin, timeout=60)

    def write(self, path: str, text: str) -> None:
        (self.root / path.lstrip("/")).write_text(text)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with machine() as made:
        box = Box(int(made.root.parent.name))
        box.set_resolv_conf("file")
        opening = "from tests.net.capture.namespace import conftest; conftest.open_up()"
        box.run("env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", opening)
        yield box


def variables(text: str) -> Mapping[str, str]:
    """The fields of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
