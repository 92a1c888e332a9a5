"""inotify(7) by ctypes, for the standard library has none."""

import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_ONLYDIR: Final = 0x01000000
_WATCHED: Final = _ATTRIB | _CLOSE_WRITE | _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
_OVERFLOW: Final = 0x4000
_IS_GONE: Final = 0x8000
_EVENT: Final = struct.Struct("iIII")


class Seen(NamedTuple):
    folders: set[bytes]
    """In which something has changed."""
    written: set[bytes]
    """In which a file is being written, that somebody has open still."""
    is_all: bool = False
    """Events were lost: anything may have changed."""


class Inotify:
    """An Inotify tells in which folders something changes. `fileno` is readable once something has."""

    def __init__(
        self, descriptor: int, add: Callable[[int, bytes, int], int], remove: Callable[[int, int], object]
    ) -> None:
        """`add` and `remove` are inotify_add_watch(2) and inotify_rm_watch(2)."""
        self._descriptor = descriptor
        self._add, self._remove = add, remove
        self._folders: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, folder: int, path: bytes) -> None:
        """Watch an open folder, whose path is `path`; raises OSError(ENOSPC) when the kernel grants no more watches."""
        watch = self._add(self._descriptor, b"/proc/self/fd/%d" % folder, _WATCHED)
        if self._watches.get(path) != watch:
            self.forget(path)
        self._folders[watch] = path
        self._watches[path] = watch

    def forget(self, path: bytes) -> None:
        """Watch what had this path no longer, unless it is watched under another one by now."""
        watch = self._watches.pop(path, 0)
        if self._folders.get(watch) == path:
            del self._folders[watch]
            self._remove(self._descriptor, watch)  # fails where the folder is removed, and its watch with it

    def is_watched(self, path: bytes) -> bool:
        """Tell whether the folder watched under this path still is: not removed, and not watched under another one."""
        return self._folders.get(self._watches.get(path, 0)) == path

    def read(self) -> Seen:
        """Return what has changed since; empty when nothing has."""
        folders: set[bytes] = set()
        written: set[bytes] = set()
        is_all = False
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return Seen(folders, written - folders, is_all)
            at = 0
            while at < len(data):
                watch, mask, _, name_bytes = _EVENT.unpack_from(data, at)
                at += _EVENT.size + name_bytes
                is_all |= bool(mask & _OVERFLOW)
                if mask & _IS_GONE:
                    path = self._folders.pop(watch, b"")
                    if self._watches.get(path) == watch:
                        del self._watches[path]
                elif watch in self._folders:
                    (written if mask & _MODIFY else folders).add(self._folders[watch])

    def close(self) -> None:
        os.close(self._descriptor)


def open_inotify() -> Inotify | None:
    """Open one; None where there is no ctypes or the kernel grants none: then folders are looked through again."""
    try:
        import ctypes
    except ImportError:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "inotify_init1"):
        return None
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None

    def add(inotify: int, path: bytes, mask: int) -> int:
        watch = int(library.inotify_add_watch(inotify, path, ctypes.c_uint32(mask)))
        if watch < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return watch

    return Inotify(descriptor, add, library.inotify_rm_watch)
