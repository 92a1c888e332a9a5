"""Large files travel in blocks. What the receiver has already, of a transfer that was cut or of the file's previous
content at the same place, is not sent again."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ktpy.wire.sync.entries import DIGEST_BYTES, Entry
from ktpy.wire.sync.folder import Digest, Folder, digest, write_all
from ktpy.wire.sync.frames import BLOCK_BYTES
from ktpy.wire.sync.ignore import OWN_PREFIX

PART_SUFFIX: Final = b".part"


def part_name(entry: Entry) -> bytes:
    """Return the name under which a file is kept until it is whole: by its content, so that it is found again."""
    return OWN_PREFIX + entry.content.hex().encode() + PART_SUFFIX


class Incoming:
    """An Incoming is a large file on its way in. Its blocks come in order, without those of `have`."""

    def __init__(self, folder: Folder, path: bytes, entry: Entry) -> None:
        """Raises OSError, ENOSPC also where what is missing has no room, before any of it is sent."""
        self.name = part_name(entry)
        parent, old_name = folder.parent(path)
        _see_to_room(parent, self.name, entry.size)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._part = os.open(self.name, flags, 0o600, dir_fd=parent)
        self._source = self._part
        self._entry = entry
        self._folder = folder
        self._digest = Digest()
        self._next = 0
        if not os.fstat(self._part).st_size:
            with suppress(OSError):  # there is none
                self._source = os.open(old_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        try:
            self.have = b"".join(digest(block) for block in self._blocks())
        except OSError:  # it is a folder
            self.have = b""

    def _blocks(self) -> Iterator[bytes]:
        at = 0
        while at < self._entry.size and (block := os.pread(self._source, BLOCK_BYTES, at)):
            yield block
            at += BLOCK_BYTES

    def add(self, index: int, data: bytes | memoryview) -> None:
        """Take a block. Raises OSError, EAGAIN where what was here has gone; ValueError for one that cannot be."""
        self._fill(index)
        if self._next < index <= len(self.have) // DIGEST_BYTES:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if index != self._next or index * BLOCK_BYTES + len(data) > self._entry.size or len(data) > BLOCK_BYTES:
            raise ValueError("a block is out of order")
        self._write(data)

    def _fill(self, until: int) -> None:
        """Take the blocks that are here already."""
        while self._next < until and self._next * BLOCK_BYTES < self._entry.size:
            data = os.pread(self._source, BLOCK_BYTES, self._next * BLOCK_BYTES)
            if not data:
                return
            self._write(data[: self._entry.size - self._next * BLOCK_BYTES], is_new=self._source != self._part)

    def _write(self, data: bytes | memoryview, *, is_new: bool = True) -> None:
        if is_new:
            os.lseek(self._part, self._next * BLOCK_BYTES, os.SEEK_SET)
            write_all(self._part, data)
        self._digest.update(data)
        self._next += 1

    def finish(self) -> bool:
        """Tell whether the file is whole; it has its mode then, and no name yet. Raises OSError."""
        self._fill(self._entry.size // BLOCK_BYTES + 1)
        if self._digest.digest() != self._entry.content:
            return False
        os.ftruncate(self._part, self._entry.size)
        self._folder.finish(self._part, self._entry.mode)
        return True

    def close(self) -> None:
        """Close it; what has come stays for another attempt."""
        if self._source != self._part:
            os.close(self._source)
        os.close(self._part)


def _see_to_room(parent: int, name: bytes, size: int) -> None:
    """Raise ENOSPC where a file has no room to grow to `size`: its part would fill the disk for everybody else."""
    disk = os.fstatvfs(parent)
    with suppress(FileNotFoundError):
        size -= os.stat(name, dir_fd=parent, follow_symlinks=False).st_size
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < size:  # some file systems count no blocks
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def outgoing(descriptor: int, size: int, have: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield index and content of the blocks that are not in `have`; of a file that has grown, of `size` bytes of it.

    Raises OSError.
    """
    for index in range(-(-size // BLOCK_BYTES)):
        data = os.pread(descriptor, min(BLOCK_BYTES, size - index * BLOCK_BYTES), index * BLOCK_BYTES)
        if not data:
            break
        at = index * DIGEST_BYTES
        if have[at : at + DIGEST_BYTES] != digest(data) if at < len(have) else True:
            yield index, data


def failure(error: OSError) -> bytes:
    """Return the errno as a result's detail has it."""
    return b"%d" % (error.errno or errno.EIO)
