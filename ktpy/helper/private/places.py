"""This module shows a program folders and files of its own at any path, also where there is nothing, or root owns it.

In a user namespace a folder of root's gets no new entry, since its owner is not mapped: the nearest one that exists is
covered with a tmpfs, its children are bound back, and what is missing is made there (bubblewrap does so, too).
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ktpy.helper.private.messages import Place
from ktpy.helper.private.namespaces import MS_BIND, MS_REC, check, detach, mount, open_fuse

_STORE, _NEW_ROOT = "/proc/tty", "/media"
_OTHERS: Final = ("/srv", "/opt", "/tmp")  # noqa: S108 - mount points, nothing is written there
_MS_RDONLY: Final = 0x1
_MS_REMOUNT: Final = 0x20
_libc = ctypes.CDLL(None, use_errno=True)


class Covers:
    """Covers make paths that are missing, also in folders of root's."""

    def __init__(self) -> None:
        self._own = set[int]()
        """The file systems in which entries may be made."""
        self.notes = list[str]()
        """What the user should know of it."""

    def add_own(self, folder: str) -> None:
        self._own.add(Path(folder).stat().st_dev)

    def make(self, target: Path, *, is_folder: bool) -> None:
        """Make a file or a folder, and those above it. Raises OSError."""
        nearest = next(parent for parent in target.parents if parent.is_dir())
        if nearest.stat().st_dev not in self._own:
            self._cover(nearest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            target.mkdir()
        else:
            target.touch()

    def _cover(self, folder: Path) -> None:
        """Put a tmpfs with the same children over a folder."""
        if os.getuid() != 0 and os.access(folder, os.W_OK):
            self.notes.append(
                f"{folder} has to be covered for the pod's files: what the program creates in it is in memory, and "
                "goes with it; files there can be changed, but not replaced."
            )
        is_root = folder == Path("/")
        cover = Path(_workplaces()[1]) if is_root else folder
        below, behind = _open(folder), _open(cover)
        try:
            mode = stat.S_IMODE(folder.stat().st_mode)
            children = list(os.scandir(folder))
            mount("tmpfs", str(cover), "tmpfs", options=f"mode={mode:o}")
            self.add_own(str(cover))
            for child in children:
                is_cover = is_root and child.path == str(cover)
                with suppress(OSError):  # gone meanwhile; one that cannot be shown hides no other
                    _bind_back(child, f"/proc/self/fd/{behind if is_cover else below}", cover, itself=is_cover)
        finally:
            os.close(below)
            os.close(behind)
        if is_root:
            _pivot_to(cover)


class Places:
    """Places has a folder in memory, of the program's mounts alone, from which it shows things at their paths."""

    def __init__(self, covers: Covers) -> None:
        self._covers, self._store = covers, _workplaces()[0]
        mount("tmpfs", self._store, "tmpfs", options="mode=755")
        covers.add_own(self._store)

    def open(self) -> int:
        """Return a descriptor of the folder, by which a process outside may fill it."""
        return os.open(self._store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def mount_fuse(self, count: int) -> tuple[int, ...]:
        """Mount so many file systems in the folder; return what to serve them on. Raises OSError, and leaves nothing
        that anybody sees then."""
        descriptors = list[int]()
        try:
            for number in range(count):
                place = Path(self._fuse(number))
                place.mkdir(mode=0o700)
                descriptors.append(device := open_fuse())
                ids = f"user_id={os.getuid()},group_id={os.getgid()}"
                mount("ktpy", str(place), "fuse.ktpy", options=f"fd={device},rootmode=40000,{ids},allow_other")
        except OSError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return tuple(descriptors)

    def _fuse(self, number: int) -> str:
        return f"{self._store}/.ktpy-fuse-{number}"

    def show(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Show what is in the folder at the same paths; return a sentence for each that cannot be, and what else the
        user should know. `show` is last."""
        failures = self._covers.notes
        for place in places:
            try:
                self._show(place)
            except OSError as error:
                failures.append(f"{place.path} cannot be shown to the program: {error.strerror}.")
        detach(self._store)  # what is bound from it stays
        return tuple(failures)

    def _show(self, place: Place) -> None:
        source = self._store + place.path if place.fuse is None else self._fuse(place.fuse)
        target = os.path.realpath(place.path)
        is_folder = stat.S_ISDIR(Path(source).stat().st_mode)
        if not (Path(target).is_dir() if is_folder else Path(target).is_file()):
            self._covers.make(Path(target), is_folder=is_folder)
        mount(source, target, None, MS_BIND | MS_REC)
        if place.read_only:
            mount("none", target, None, MS_BIND | _MS_REMOUNT | _MS_RDONLY)
        elif place.fuse is not None:
            self._covers.add_own(target)


def _workplaces() -> list[str]:
    """Return folders that may be covered for a while: for the store, and for what becomes the root."""
    return [one for one in (_STORE, _NEW_ROOT, *_OTHERS) if Path(one).is_dir()]


def _bind_back(child: "os.DirEntry[str]", folder: str, cover: Path, *, itself: bool) -> None:
    """Let a child of the covered folder show; `itself` says that `folder` is that child."""
    target = cover / child.name
    if child.is_symlink():
        target.symlink_to(Path(folder, child.name).readlink())
        return
    if child.is_dir(follow_symlinks=False):
        target.mkdir()
    else:
        target.touch()
    mount(folder if itself else f"{folder}/{child.name}", str(target), None, MS_BIND | MS_REC)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _pivot_to(root: Path) -> None:
    """Make a folder the root of all processes of this namespace (pivot_root(2), its last example)."""
    os.chdir(root)
    check(_libc.pivot_root(b".", b"."), "/")
    detach(".")
    os.chdir("/")
