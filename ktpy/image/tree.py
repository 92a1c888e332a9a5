"""The root file system of an image, in memory, made of Debian packages and files; written as a layer. Pure.

No file is made on the laptop for it, so that owners and permissions are as in the packages without root.
"""

import copy
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Final

MERGED: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Folders that are links into /usr in a Debian of today, also where a package still has files there."""
_SET_ID: Final = 0o6000


class Tree:
    """A Tree is files, folders and links by their paths, without the first slash."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def unpack(self, tar: tarfile.TarFile, wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Add what is wanted of a package, and return its paths. Set-uid bits are dropped, as nobody becomes another
        user in the image; a hard link becomes a file of its own."""
        added = []
        for member in tar:
            path = _place(member.name)
            if not path or (path in MERGED and not member.issym()) or not wanted(path):
                continue
            if member.islnk():
                entry, content = self._entries[_place(member.linkname)]
                entry = copy.copy(entry)
            else:
                file = tar.extractfile(member) if member.isreg() else None
                entry, content = member, file.read() if file else b""
            entry.name = path
            entry.mode &= ~_SET_ID if entry.isreg() else ~0
            self._entries[path] = (entry, content)
            added.append(path)
        return added

    def add(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file of root's, in place of one that is there."""
        entry = tarfile.TarInfo(path)
        entry.mode, entry.size = mode, len(content)
        self._entries[path] = (entry, content)

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._entries[path] = (entry, b"")

    def add_link(self, path: str, target: str) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._entries[path] = (entry, b"")

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises KeyError where it is not there."""
        return self._entries[path][1]

    def remove(self, path: str) -> None:
        self._entries.pop(path, None)

    def complete(self) -> None:
        """Add the folders that are missing above what is there, and the links of a merged /usr."""
        for name in MERGED:
            if any(path.startswith(f"usr/{name}/") for path in self._entries):
                self.add_link(name, f"usr/{name}")
        for path in list(self._entries):
            for parent in PurePosixPath(path).parents:
                if str(parent) not in (".", *self._entries):
                    self.add_folder(str(parent))

    def extract(self, folder: Path) -> None:
        """Make files and links of it in a folder, for programs that look at it; whose they are is lost."""
        for path in self:
            entry, content = self._entries[path]
            place = folder / path
            if entry.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry.issym():
                place.symlink_to(entry.linkname)
            elif entry.isreg():
                place.write_bytes(content)
                place.chmod(entry.mode & 0o777)

    def write(self, file: IO[bytes]) -> None:
        """Write it as a layer: the same bytes for the same content, whenever that is."""
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in self:
                entry, content = self._entries[path]
                same = tarfile.TarInfo(path)
                same.type, same.mode, same.uid, same.gid = entry.type, entry.mode, entry.uid, entry.gid
                same.linkname, same.size = entry.linkname, len(content)
                tar.addfile(same, BytesIO(content))


def _place(name: str) -> str:
    """Return where a package's path is, once /usr is merged."""
    path = name.removeprefix("./").strip("/")
    path = "" if path == "." else path
    return f"usr/{path}" if "/" in path and path.partition("/")[0] in MERGED else path
