"""Access to the files of a synchronized folder that no link can lead out of it.

Every component of a path is opened by itself, from the folder's own descriptor, and none may be a symbolic link
(O_NOFOLLOW): whatever the other side says, and whoever changes the folder meanwhile, nothing outside is touched.
"""

import hashlib
import os
import stat
import time
from typing import Final, NamedTuple

from ktpy.wire.sync.entries import DIGEST_BYTES, FILE, FOLDER, LINK, MODE_BITS, SEALED, THE_IGNORED, Entry
from ktpy.wire.sync.exchange import exchange, move_to_free
from ktpy.wire.sync.ignore import OWN_PREFIX

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_BYTES: Final = 1 << 18
_CLOCK_GRAIN_NS: Final = 12_000_000
"""A file may change twice within a tick of the kernel (10 ms at 100 Hz) without a sign of it."""


class Digest:
    """A Digest is that of a file's content, as far as it was read: SHA-256, which processors have instructions for."""

    __slots__ = ("_hash", "update")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.update = self._hash.update

    def digest(self) -> bytes:
        return self._hash.digest()[:DIGEST_BYTES]


def digest(content: bytes | memoryview) -> bytes:
    """Return the digest of a whole content."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


class Known(NamedTuple):
    """A Known is what was last seen of a path."""

    entry: Entry
    signature: int | None
    """Changes when the file does. None: it has to be read again."""


def signature(status: os.stat_result) -> int:
    """Return what changes with a file, also when it is renamed."""
    return hash((_identity(status), status.st_ctime_ns))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode


class Folder:
    """A Folder is the root of what is synchronized."""

    def __init__(self, root: bytes, *, is_durable: bool = False) -> None:
        """Raises OSError when it is no folder. Durable: content is on the disk before a name is given to it."""
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._is_durable = is_durable
        self._opened: tuple[bytes, int] | None = None
        self._temporary = 0
        self._placed: tuple[int, ...] = ()

    def close(self) -> None:
        self.release()
        os.close(self.root)

    def release(self) -> None:
        """Forget the descriptor that is kept for the next path: its folder may be moved from now on."""
        opened, self._opened = self._opened, None
        if opened:
            os.close(opened[1])

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """Return a path's parent, open until the next call, and its last component. Raises OSError."""
        folder, _, name = path.rpartition(b"/")
        if not folder:
            return self.root, name
        if self._opened is None or self._opened[0] != folder:
            self.release()
            self._opened = folder, self.open_folder(folder)
        return self._opened[1], name

    def open_folder(self, path: bytes) -> int:
        """Open a folder; the caller closes it. Raises OSError."""
        descriptor = os.dup(self.root)
        for part in path.split(b"/") if path else ():
            try:
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor

    def status(self, path: bytes) -> os.stat_result | None:
        """Return lstat of a path, None where there is nothing. Raises OSError."""
        try:
            parent, name = self.parent(path)
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_file(self, path: bytes) -> int:
        """Open a file to read it; the caller closes it. Raises OSError."""
        parent, name = self.parent(path)
        return os.open(name, _READ_FLAGS, dir_fd=parent)

    def look(self, path: bytes) -> Known | None:
        """Return what there is; what cannot be read counts as ignored. Raises OSError."""
        status = self.status(path)
        if status is None:
            return None
        try:
            parent, name = self.parent(path)
            return seen(parent, name, status)
        except FileNotFoundError:
            return None

    def temporary(self) -> bytes:
        """Return a name for something that will have another soon."""
        self._temporary += 1
        return OWN_PREFIX + b"%d-%d.tmp" % (os.getpid(), self._temporary)

    def write(self, path: bytes, content: bytes, mode: int) -> bytes:
        """Write a new file beside `path`; return its temporary name. Raises OSError, and leaves nothing then."""
        parent, _ = self.parent(path)
        name = self.temporary()
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            write_all(descriptor, content)
            self.finish(descriptor, mode)
        except OSError:
            os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(descriptor)
        return name

    def finish(self, descriptor: int, mode: int) -> None:
        """Give a written file its mode, and see to it that it lasts if the folder is durable."""
        os.fchmod(descriptor, mode)
        if self._is_durable:
            os.fsync(descriptor)

    def link(self, path: bytes, target: bytes) -> bytes:
        """Make a symbolic link beside `path`; return its temporary name. Raises OSError."""
        parent, _ = self.parent(path)
        name = self.temporary()
        os.symlink(target, name, dir_fd=parent)
        return name

    def place(self, temporary: bytes, path: bytes, expected: os.stat_result | None) -> bytes | None:
        """Give what was written its name, in place of what has the `expected` status (None: of nothing).

        Returns the temporary name of what was there when somebody has changed it in this very moment; else None.
        Raises OSError, FileExistsError for a name that is taken; the temporary file is gone then.
        """
        parent, name = self.parent(path)
        self._placed = _identity(os.stat(temporary, dir_fd=parent, follow_symlinks=False))
        try:
            if expected is None:
                move_to_free(parent, temporary, parent, name)
                return None
            if not exchange(parent, temporary, name):
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
                return None
        except OSError:
            os.unlink(temporary, dir_fd=parent)
            raise
        return self._remove(parent, temporary, expected)

    def is_placed(self, status: os.stat_result) -> bool:
        """Tell whether that is the status of what was placed last, and of nothing that somebody wrote over it."""
        return _identity(status) == self._placed

    def take_away(self, path: bytes, expected: os.stat_result) -> bytes | None:
        """Remove a file or link with that status. Returns and raises as `place`."""
        parent, name = self.parent(path)
        temporary = self.temporary()
        os.rename(name, temporary, src_dir_fd=parent, dst_dir_fd=parent)
        return self._remove(parent, temporary, expected)

    @staticmethod
    def _remove(parent: int, temporary: bytes, expected: os.stat_result) -> bytes | None:
        status = os.stat(temporary, dir_fd=parent, follow_symlinks=False)
        if _identity(status) != _identity(expected):
            return temporary
        os.unlink(temporary, dir_fd=parent)
        return None

    def remove_folder(self, path: bytes) -> None:
        """Remove an empty folder. Raises OSError."""
        self.release()
        parent, name = self.parent(path)
        os.rmdir(name, dir_fd=parent)

    def discard(self, path: bytes, temporary: bytes) -> None:
        """Remove what was written beside `path`. Raises OSError."""
        parent, _ = self.parent(path)
        os.unlink(temporary, dir_fd=parent)

    def rename(self, path: bytes, old_name: bytes, new_path: bytes) -> None:
        """Rename what is beside `path` to a name there that is free. Raises OSError, FileExistsError if it is taken."""
        parent, _ = self.parent(path)
        move_to_free(parent, old_name, parent, new_path.rpartition(b"/")[2])
        self.release()


def seen(folder: int, name: bytes, status: os.stat_result) -> Known:
    """Return what is in an open folder, whose lstat is given; what is no file, or cannot be read, counts as ignored.

    Raises FileNotFoundError.
    """
    if stat.S_ISDIR(status.st_mode):
        return Known(Entry(FOLDER), None)
    try:
        if stat.S_ISLNK(status.st_mode):
            return Known(Entry(LINK, 0, 0, os.readlink(name, dir_fd=folder)), signature(status))
        if stat.S_ISREG(status.st_mode):
            return _seen_file(os.open(name, _READ_FLAGS, dir_fd=folder))
    except FileNotFoundError:
        raise
    except OSError:
        return Known(SEALED, None)
    return Known(THE_IGNORED, None)


def _seen_file(descriptor: int) -> Known:
    """Read a file, until it holds still."""
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return Known(THE_IGNORED, None)
        content, size = Digest(), 0
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            content.update(chunk)
            size += len(chunk)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    entry = Entry(FILE, status.st_mode & MODE_BITS, size, content.digest(), status.st_mtime_ns)
    return Known(entry, settled(status) if signature(before) == signature(status) else None)


def settled(status: os.stat_result) -> int | None:
    """Return the signature of a file whose next change is sure to change it; else None."""
    recent = abs(time.time_ns() - status.st_ctime_ns) < _CLOCK_GRAIN_NS
    return None if recent else signature(status)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of it; raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
