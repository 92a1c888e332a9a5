"""What an SSH session runs that asks for `ktpy-agent volume PATH`: it does in a claim what a laptop's programs do.

Every component of a path is opened by itself and none may be a symbolic link, so no link leads out of the claim.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ktpy.wire.files import CLAIMS_DIR, is_inside
from ktpy.wire.sync.exchange import exchange, move_to_free
from ktpy.wire.sync.folder import Folder, write_all
from ktpy.wire.volume import TRANSFER_BYTES, VERSION, Changes, MessageParser, Space, Status, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES: Final = 1 << 18
_NO_REPLACE, _EXCHANGE = 1, 2  # linux/fs.h
_SAFE_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FLAGS: Final = os.O_ACCMODE | os.O_TRUNC | os.O_APPEND | os.O_EXCL | os.O_SYNC | os.O_DSYNC
"""What of the flags of open(2) is heeded."""


def run(path: str) -> int:
    """Serve the claim that the workload's pod has at this path, until the channel ends. Returns the exit status."""
    if not path.startswith("/") or not is_inside(path[1:]):
        sys.stderr.write(f"ktpy-agent: {path!r} leads elsewhere\n")
        return 64  # EX_USAGE of sysexits.h
    os.umask(0)  # the laptop's kernel has applied that of its program
    try:
        volume = Volume(os.fsencode(CLAIMS_DIR + path))
    except OSError as error:
        sys.stderr.write(f"ktpy-agent: {path}: {error.strerror}\n")
        return 73  # EX_CANTCREAT
    with suppress(BrokenPipeError):
        volume.serve(0, 1)
    return 0


class Volume:
    """A Volume is a claim's folder, and the files that programs have open in it."""

    def __init__(self, root: bytes) -> None:
        """Raises OSError when it is no folder."""
        self._folder = Folder(root)
        self._number = 0
        self._open: dict[int, int] = {}

    def serve(self, source: int, target: int) -> None:
        """Answer the requests that come, one after the other, until there are no more. Raises OSError."""
        parser = MessageParser()
        write_all(target, packed([0, 0, VERSION]))
        try:
            while data := os.read(source, _READ_BYTES):
                for (number, operation, *arguments), content in parser.feed(data):
                    write_all(target, self._answer(number, operation, arguments, content))
        finally:
            self.close()

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._folder.close()

    def _answer(self, number: int, operation: str, arguments: list[Any], content: bytes) -> bytes:
        try:
            if operation == "write":
                return packed([number, 0, self._write(content, *arguments)])
            if operation == "read":
                return packed([number, 0], self._read(*arguments))
            perform = _OPERATIONS.get(operation)
            if perform is None:
                return packed([number, errno.ENOSYS])
            return packed([number, 0, *perform(self, *arguments)])
        except OSError as error:
            return packed([number, error.errno or errno.EIO])
        except (TypeError, ValueError, OverflowError):
            return packed([number, errno.EINVAL])

    # --- files that are open

    def _descriptor(self, handle: int) -> int:
        try:
            return self._open[handle]
        except KeyError:
            raise OSError(errno.ESTALE, "") from None

    def _read(self, handle: int, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor(handle), min(size, TRANSFER_BYTES), offset)

    def _write(self, content: bytes, handle: int, offset: int) -> int:
        written, descriptor = 0, self._descriptor(handle)
        while written < len(content):
            try:
                written += os.pwrite(descriptor, memoryview(content)[written:], offset + written)
            except OSError:
                if not written:
                    raise
                break
        return written

    def open(self, path: str, flags: int, mode: int | None) -> list[Any]:
        """Open a file; with a mode, make it where there is none."""
        wanted = flags & _FLAGS | _SAFE_FLAGS | (os.O_CREAT if mode is not None else 0)
        with self._parent(path) as (parent, name):
            descriptor = os.open(name, wanted, mode or 0, dir_fd=parent)
        self._number += 1
        self._open[self._number] = descriptor
        return [self._number, _status(os.fstat(descriptor))]

    def close_handle(self, handle: int) -> list[Any]:
        descriptor = self._descriptor(handle)
        del self._open[handle]
        os.close(descriptor)
        return []

    def stat_open(self, handle: int) -> list[Any]:
        return [_status(os.fstat(self._descriptor(handle)))]

    def change_open(self, handle: int, wanted: list[int | None]) -> list[Any]:
        _change(self._descriptor(handle), Changes(*wanted))
        return self.stat_open(handle)

    def sync(self, handle: int) -> list[Any]:
        os.fsync(self._descriptor(handle))
        return []

    # --- names

    @contextmanager
    def _parent(self, path: str) -> "Iterator[tuple[int, bytes]]":
        """Open a path's parent; the name of the root is a dot."""
        folder, _, name = os.fsencode(path).rpartition(b"/")
        if path and not is_inside(path):
            raise OSError(errno.EINVAL, "")
        descriptor = self._folder.open_folder(folder)
        try:
            yield descriptor, name or b"."
        finally:
            os.close(descriptor)

    def stat(self, path: str) -> list[Any]:
        with self._parent(path) as (parent, name):
            return [_status(os.stat(name, dir_fd=parent, follow_symlinks=False))]

    def access(self, path: str, mask: int) -> list[Any]:
        with self._parent(path) as (parent, name):
            if not os.access(name, mask, dir_fd=parent):
                raise OSError(errno.EACCES, "")
        return []

    def readlink(self, path: str) -> list[Any]:
        with self._parent(path) as (parent, name):
            return [os.fsdecode(os.readlink(name, dir_fd=parent))]

    def entries(self, path: str) -> list[Any]:
        """Return all that is in a folder, each with its status."""
        descriptor = self._folder.open_folder(os.fsencode(path))
        try:
            found = []
            with os.scandir(descriptor) as inside:
                for one in inside:
                    with suppress(FileNotFoundError):
                        found.append([one.name, _status(os.stat(one.name, dir_fd=descriptor, follow_symlinks=False))])
            return [found]
        finally:
            os.close(descriptor)

    def make(self, path: str, mode: int) -> list[Any]:
        """Make a folder, a file, a FIFO or a socket: the mode tells."""
        with self._parent(path) as (parent, name):
            if stat.S_ISDIR(mode):
                os.mkdir(name, stat.S_IMODE(mode), dir_fd=parent)
            else:
                os.mknod(name, mode, dir_fd=parent)
            return [_status(os.stat(name, dir_fd=parent, follow_symlinks=False))]

    def symlink(self, path: str, target: str) -> list[Any]:
        with self._parent(path) as (parent, name):
            os.symlink(os.fsencode(target), name, dir_fd=parent)
            return [_status(os.stat(name, dir_fd=parent, follow_symlinks=False))]

    def link(self, old: str, new: str) -> list[Any]:
        with self._parent(old) as (parent, name), self._parent(new) as (new_parent, new_name):
            os.link(name, new_name, src_dir_fd=parent, dst_dir_fd=new_parent, follow_symlinks=False)
            return [_status(os.stat(new_name, dir_fd=new_parent, follow_symlinks=False))]

    def unlink(self, path: str) -> list[Any]:
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
        return []

    def rmdir(self, path: str) -> list[Any]:
        with self._parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
        return []

    def rename(self, old: str, new: str, flags: int) -> list[Any]:
        with self._parent(old) as (parent, name), self._parent(new) as (new_parent, new_name):
            if flags == _NO_REPLACE:
                move_to_free(parent, name, new_parent, new_name)
            elif flags == 0:
                os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=new_parent)
            elif not (
                flags == _EXCHANGE and os.path.sameopenfile(parent, new_parent) and exchange(parent, name, new_name)
            ):
                raise OSError(errno.EINVAL, "")
        return []

    def change(self, path: str, wanted: list[int | None]) -> list[Any]:
        """Set what is wanted of a file, and return its status."""
        with self._parent(path) as (parent, name):
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _change(Path(f"/proc/self/fd/{descriptor}"), Changes(*wanted))
            return [_status(os.fstat(descriptor))]
        finally:
            os.close(descriptor)

    def space(self) -> list[Any]:
        told = os.statvfs(self._folder.root)
        return [
            Space(
                told.f_frsize,
                told.f_blocks,
                told.f_bfree,
                told.f_bavail,
                told.f_files,
                told.f_ffree,
                told.f_namemax,
            )
        ]


_OPERATIONS: Final[dict[str, Callable[..., list[Any]]]] = {
    "access": Volume.access,
    "change": Volume.change,
    "change-open": Volume.change_open,
    "close": Volume.close_handle,
    "entries": Volume.entries,
    "link": Volume.link,
    "make": Volume.make,
    "open": Volume.open,
    "readlink": Volume.readlink,
    "rename": Volume.rename,
    "rmdir": Volume.rmdir,
    "space": Volume.space,
    "stat": Volume.stat,
    "stat-open": Volume.stat_open,
    "symlink": Volume.symlink,
    "sync": Volume.sync,
    "unlink": Volume.unlink,
}


def _change(file: int | Path, wanted: Changes) -> None:
    if wanted.mode is not None:
        os.chmod(file, wanted.mode)  # noqa: PTH101 - also of a descriptor
    if wanted.size is not None:
        os.truncate(file, wanted.size)
    if wanted.accessed_ns is not None or wanted.modified_ns is not None:
        now = os.stat(file)  # noqa: PTH116
        accessed = now.st_atime_ns if wanted.accessed_ns is None else wanted.accessed_ns
        modified = now.st_mtime_ns if wanted.modified_ns is None else wanted.modified_ns
        os.utime(file, ns=(accessed, modified))


def _status(found: os.stat_result) -> Status:
    return Status(
        found.st_ino,
        found.st_mode,
        found.st_nlink,
        found.st_size,
        found.st_blocks,
        found.st_atime_ns,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
