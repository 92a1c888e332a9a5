"""A disk of so many bytes, for code that writes by os.write: it takes a part of what does not fit, and then nothing."""

import errno
import fcntl
import os

import pytest


class FullDisk:
    """A FullDisk has room for `room_bytes` more; writing over what is there needs none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self._write = os.write
        monkeypatch.setattr(os, "write", self._write_what_fits)

    def _write_what_fits(self, descriptor: int, content: bytes) -> int:
        size_bytes = os.fstat(descriptor).st_size
        is_appending = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        position = size_bytes if is_appending else os.lseek(descriptor, 0, os.SEEK_CUR)
        fits = memoryview(content)[: max(0, size_bytes - position) + self.room_bytes]
        if content and not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, fits)
        self.room_bytes -= os.fstat(descriptor).st_size - size_bytes
        return written
