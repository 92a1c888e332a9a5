"""The files of a workload's pod, as they come from the agent, written into a folder that only the program sees."""

import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.wire.files import ALL, DATA, DONE, FILE, FOLDER, LINK, MOUNT, SERVICE_ACCOUNT_DIR, Entry, EntryParser

_TEMPORARY = ".ktpy-new"


class PodFiles:
    """A PodFiles holds each mount at its own path below `root`, and follows its versions as the kubelet does:
    what is new comes first, then the link `..data` is put in the place of the old one, in one step.
    """

    def __init__(self, root: Path, mounts: Iterable[PodMount]) -> None:
        self._root = root
        self._mounts = {one.path: one for one in mounts}
        self.arrived: dict[str, bool] = {}
        """The mounts that have come, and whether each is read-only."""
        self._mount: PodMount | None = None
        self._seen: set[str] = set()
        self._file: BinaryIO | None = None
        self._parser = EntryParser()
        for one in self._mounts.values():
            if one.kind is VolumeKind.SCRATCH:
                self._place(one.path).mkdir(parents=True, exist_ok=True)
                self.arrived[one.path] = one.read_only

    def begin(self) -> None:
        """Take a stream from its begin, after one that was lost."""
        self._parser, self._mount = EntryParser(), None
        self._close()

    def take(self, data: bytes) -> bool:
        """Write what has come; return whether every mount has come once. Raises ValueError for what no agent sends."""
        is_complete = False
        for entry in self._parser.feed(data):
            if entry.kind == ALL:
                is_complete = True
            elif entry.kind == MOUNT:
                self._begin_mount(entry.path)
            elif self._mount is not None:
                self._write(self._mount, entry)
        return is_complete

    def _begin_mount(self, path: str) -> None:
        mount = self._mounts.get(path)
        if mount is None and path == SERVICE_ACCOUNT_DIR:  # the API server's, which is in no template
            mount = PodMount(path, VolumeKind.KUBELET, read_only=True)
        is_taken = mount is not None and not (mount.kind is VolumeKind.CLAIM and path in self.arrived)
        self._mount = mount if is_taken else None  # a copy of a claim is the program's own from then on
        self._seen = set()

    def _write(self, mount: PodMount, entry: Entry) -> None:
        if entry.kind == DATA:
            if self._file is not None:
                self._file.write(entry.data)
            return
        self._close()
        if entry.kind == DONE:
            self._finish(mount)
            return
        place = self._inside(mount, entry.path)
        self._seen.add(entry.path.partition("/")[0])
        if entry.kind == FOLDER:
            if place.is_symlink():
                place.unlink()
            place.mkdir(parents=not entry.path, exist_ok=True)
            place.chmod(entry.mode | stat.S_IRWXU)
        elif entry.kind == FILE:
            self._create(place, _mode(mount, entry))
        elif entry.kind == LINK and entry.path:  # a mount is none
            _link(place, entry.target)

    def _create(self, place: Path, mode: int) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)  # of a mount that is one file
        place.unlink(missing_ok=True)
        self._file = place.open("xb")
        place.chmod(mode)

    def _finish(self, mount: PodMount) -> None:
        """Remove what this version has no more."""
        place = self._inside(mount, "")
        if mount.path in self.arrived and place.is_dir() and not place.is_symlink():
            for child in place.iterdir():
                if child.name not in self._seen and not self._is_other_mount(mount, child.name):
                    _remove(child)
        self.arrived[mount.path] = mount.read_only
        self._mount = None

    def _is_other_mount(self, mount: PodMount, name: str) -> bool:
        below = f"{mount.path}/{name}"
        return any(path == below or path.startswith(f"{below}/") for path in self._mounts)

    def _place(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _inside(self, mount: PodMount, path: str) -> Path:
        """Return the place of a path in a mount. Raises ValueError where a link, of any mount, leads elsewhere."""
        place = self._root
        *folders, last = [part for part in f"{mount.path}/{path}".split("/") if part]
        for part in folders:
            place = place / part
            with suppress(FileNotFoundError):  # it is made
                if not stat.S_ISDIR(place.lstat().st_mode):
                    raise ValueError(f"{path!r} leads through a link")
        return place / last

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _mode(mount: PodMount, entry: Entry) -> int:
    """Return the mode that the workload asks for; the kubelet's files are in a folder `..` and a time."""
    if mount.default_mode is None:
        return entry.mode
    folder, _, below = entry.path.partition("/")
    return mount.modes.get(below if folder.startswith("..") else entry.path, mount.default_mode)


def _link(place: Path, target: str) -> None:
    """Put a link in the place of another in one step."""
    if place.is_symlink() and str(place.readlink()) == target:
        return
    new = place.with_name(_TEMPORARY)
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        for child in place.iterdir():
            _remove(child)
        place.rmdir()
        return
    with suppress(FileNotFoundError):
        place.unlink()
