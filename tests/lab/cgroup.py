"""The lab's control groups: every process of a lab is in them, so `down` finds every process.

    <base>/ktpy-lab-NAME/node      seen by the node as its root: the kubelet makes its pods' groups there
    <base>/ktpy-lab-NAME/laptop    everything else: `up` itself, the laptop, the delay proxy, the resolvers
    <base>/ktpy-lab-NAME/docker    seen by Docker's engine on the laptop as its root, where one runs

On version 1 there is one such tree in every hierarchy, under the caller's own group, because a container may not
write above it. On version 2 the tree hangs at the mount's root: a group that holds processes may not hand controllers
to children ("no internal processes", kernel Documentation/admin-guide/cgroup-v2.rst), and the caller's own does.
"""

import contextlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.lab import namespaces
from tests.lab.errors import LabError
from tests.lab.processes import kill_and_wait, wait_until

MOUNT = Path("/sys/fs/cgroup")
LEAVES = ("node", "laptop")
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
KILL_TIMEOUT_S = 30.0
REMOVE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup file system, and where in it the lab's tree hangs."""

    mount_name: str  # "" for version 2 alone, else the directory under /sys/fs/cgroup
    base: Path

    @property
    def options(self) -> tuple[str, str]:
        """File-system type and mount options that mount this hierarchy anew (version 1 and hybrid)."""
        if self.mount_name == "unified":
            return "cgroup2", "rw"
        if self.mount_name == "systemd":
            return "cgroup", "none,name=systemd"
        return "cgroup", self.mount_name


def is_version_2(mount: Path = MOUNT) -> bool:
    return (mount / "cgroup.controllers").exists()


def hierarchies(proc_self_cgroup: str, mount: Path = MOUNT) -> list[Hierarchy]:
    """Every hierarchy a lab needs a tree in; `proc_self_cgroup` is the text of /proc/self/cgroup (cgroups(7))."""
    if is_version_2(mount):
        return [Hierarchy("", mount)]
    found = []
    for line in proc_self_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        mount_name = controllers.removeprefix("name=") or "unified"
        base = mount / mount_name / path.lstrip("/")
        if base.is_dir():
            found.append(Hierarchy(mount_name, base))
    if not found:
        raise LabError(f"no control groups are mounted under {mount}")
    return found


def mount_all(hierarchies: list[Hierarchy]) -> None:
    """Mount every hierarchy anew, in a sysfs of this process's own, as its control-group namespace shows it."""
    if is_version_2():
        namespaces.mount("-t", "cgroup2", "cgroup2", MOUNT)
        return
    namespaces.mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", MOUNT)
    for hierarchy in hierarchies:
        target = MOUNT / hierarchy.mount_name
        target.mkdir()
        kind, options = hierarchy.options
        namespaces.mount("-t", kind, "-o", options, kind, target)


class ControlGroups:
    """The trees of one lab, in every hierarchy."""

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots

    @classmethod
    def read(cls, record: Path) -> "ControlGroups":
        """The groups that `make` recorded; none when there is no record."""
        try:
            return cls([Path(line) for line in record.read_text().splitlines()])
        except FileNotFoundError:
            return cls([])

    @classmethod
    def make(cls, name: str, record: Path) -> "ControlGroups":
        """Make the trees, having recorded them first."""
        bases = [hierarchy.base for hierarchy in hierarchies(Path("/proc/self/cgroup").read_text())]
        groups = cls([base / name for base in bases])
        record.write_text("".join(f"{root}\n" for root in groups.roots))
        for root in groups.roots:
            _enable_controllers(root.parent)
            root.mkdir(exist_ok=True)
            _inherit_cpuset(root)
            _enable_controllers(root)
        for leaf in LEAVES:
            groups.add(leaf)
        return groups

    def add(self, leaf: str) -> None:
        """Make one more leaf of every tree, if it is not there."""
        for group in (root / leaf for root in self.roots):
            group.mkdir(exist_ok=True)
            _inherit_cpuset(group)

    def join(self, leaf: str) -> None:
        """Move this process into one leaf of every tree."""
        for root in self.roots:
            (root / leaf / "cgroup.procs").write_text(str(os.getpid()))

    def leave(self) -> None:
        """Move this process out of the trees if it is in them (a shell started by `exec` may call `down`)."""
        for root in self.roots:
            if root.exists() and os.getpid() in _members(root):
                (root.parent / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> set[int]:
        """Every process in the trees; 0 stands for one in a pid namespace above this one, which cannot be told."""
        return {pid for root in self.roots for pid in _members(root)} - {0}

    def kill(self) -> None:
        """SIGKILL every process of the lab, again until none is left (they may be forking)."""

        def are_killed() -> bool:
            pids = self.processes()
            kill_and_wait(pids, KILL_TIMEOUT_S)
            return not pids

        wait_until(are_killed, KILL_TIMEOUT_S, "the processes of the lab to die")

    def sweep(self, leaf: str) -> None:
        """Remove the groups that were made in one leaf of every tree, once their last processes have ended."""
        for child in (path for root in self.roots for path in (root / leaf).iterdir() if path.is_dir()):
            wait_until(partial(_is_removed, child), REMOVE_TIMEOUT_S, f"control group {child} to be unused")

    def remove(self) -> None:
        """Remove the trees, leaves first; a group whose last process is still being reaped is busy for a moment."""
        for root in self.roots:
            wait_until(partial(_is_removed, root), REMOVE_TIMEOUT_S, f"control group {root} to be unused")


def _is_removed(root: Path) -> bool:
    """Remove what can be; true when nothing is left."""
    for path, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
    return not root.exists()


def _members(root: Path) -> set[int]:
    found: set[int] = set()
    for path, _, _ in os.walk(root):
        with contextlib.suppress(OSError):  # the group vanished meanwhile
            found.update(int(pid) for pid in (Path(path) / "cgroup.procs").read_text().split())
    return found


def _inherit_cpuset(group: Path) -> None:
    """Version 1 only: a new cpuset group is empty, and refuses processes until it is filled."""
    if is_version_2():
        return
    for name in CPUSET_FILES:
        if (group / name).exists():
            (group / name).write_text((group.parent / name).read_text())


def _enable_controllers(group: Path) -> None:
    """Version 2 only: let the children of `group` use the controllers the kubelet wants."""
    if not is_version_2():
        return
    available = (group / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{controller}" for controller in V2_CONTROLLERS if controller in available)
    try:
        (group / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        raise LabError(
            f"{group} does not hand its controllers to children ({error.strerror}): inside a container, "
            "move the container's processes into a child group first"
        ) from error


def settle_version_2(group: Path) -> None:
    """Version 2 only: move this process into a leaf of its group, so that the group may have children.

    Called after the cgroup namespace was made (its root is the group) and before pid 1 is forked.
    """
    if not is_version_2():
        return
    leaf = group / "init"
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(str(os.getpid()))
    _enable_controllers(group)
