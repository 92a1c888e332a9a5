"""The kernel's side of FUSE: its messages, as include/uapi/linux/fuse.h has them (protocol 7.31). Pure."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from ktpy.wire.volume import TRANSFER_BYTES, Changes, Space, Status

MAJOR, MINOR = 7, 31
OLDEST_MINOR: Final = 23
"""INIT has had its present form since then (Linux 3.15)."""
READ_BYTES: Final = TRANSFER_BYTES + 4096
"""A buffer takes any request."""
ROOT: Final = 1
"""The number of the root's node (FUSE_ROOT_ID)."""
CACHED_S: Final = 1
"""So long the kernel believes what it was told of a name and of a file's attributes."""
DIRECT_IO: Final = 1
"""FOPEN_DIRECT_IO: nothing of the file is cached by this descriptor."""
GETATTR_FH: Final = 1
SETATTR_FH: Final = 1 << 6
ENTRY_BYTES: Final = 128
"""Of what READDIRPLUS tells of an entry before its name; zeros tell nothing, and the kernel looks it up."""
_PAGE_BYTES: Final = 4096
_WANTED: Final = (
    1 << 0  # ASYNC_READ
    | 1 << 3  # ATOMIC_O_TRUNC
    | 1 << 5  # BIG_WRITES
    | 1 << 12  # AUTO_INVAL_DATA
    | 1 << 13  # DO_READDIRPLUS
    | 1 << 14  # READDIRPLUS_AUTO
    | 1 << 15  # ASYNC_DIO
    | 1 << 18  # PARALLEL_DIROPS
    | 1 << 22  # MAX_PAGES
)
_NOTIFY_INVAL_INODE: Final = 2
_S: Final = 1_000_000_000

_IN: Final = struct.Struct("=IIQQIIII")
_OUT: Final = struct.Struct("=IiQ")
_ATTR: Final = struct.Struct("=6Q10I")
_VALID: Final = struct.Struct("=QII")
_ENTRY: Final = struct.Struct("=QQQQII")
_DIRENT: Final = struct.Struct("=QQII")
_SETATTR: Final = struct.Struct("=IIQQQQQQIIIIIIII")


class Opcode(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45


CHANGING: Final = frozenset(
    {
        Opcode.SETATTR,
        Opcode.SYMLINK,
        Opcode.MKNOD,
        Opcode.MKDIR,
        Opcode.UNLINK,
        Opcode.RMDIR,
        Opcode.RENAME,
        Opcode.RENAME2,
        Opcode.LINK,
        Opcode.OPEN,  # which may truncate
        Opcode.WRITE,
        Opcode.CREATE,
    }
)
"""After one of these, what was read of a folder before is of yesterday."""


class Asked(NamedTuple):
    """An Asked is what the kernel wants done."""

    opcode: int
    number: int
    node: int
    body: memoryview

    def fields(self, layout: str) -> tuple[int, ...]:
        """Return the numbers that its body begins with."""
        return struct.unpack_from("=" + layout, self.body)

    def names(self, layout: str = "") -> list[str]:
        """Return the names that follow these numbers, each with a NUL at its end."""
        *names, _ = bytes(self.body[struct.calcsize("=" + layout) :]).split(b"\0")
        return [name.decode(errors="surrogateescape") for name in names]


def asked(packet: memoryview) -> Asked:
    """Parse a request."""
    _, opcode, number, node, *_ = _IN.unpack_from(packet)
    return Asked(opcode, number, node, packet[_IN.size :])


def answer(number: int, body: bytes = b"", error: int = 0) -> bytes:
    """Render the answer to a request: what it wants, or an errno."""
    return _OUT.pack(_OUT.size + len(body), -error, number) + body


def forgotten(node: int) -> bytes:
    """Render the notice that the attributes of a node, that the kernel has, are of yesterday."""
    return _OUT.pack(_OUT.size + 24, _NOTIFY_INVAL_INODE, 0) + struct.pack("=Qqq", node, -1, 0)


def greeting(request: Asked) -> bytes | None:
    """Return what is agreed on INIT; None for a kernel whose protocol is another."""
    major, minor, readahead_bytes, flags = request.fields("4I")
    if major != MAJOR or minor < OLDEST_MINOR:
        return None
    return struct.pack(
        "=4IHHIIHH",
        MAJOR,
        MINOR,
        max(readahead_bytes, TRANSFER_BYTES),
        flags & _WANTED,
        64,  # requests under way that nobody waits for
        48,
        TRANSFER_BYTES,
        1,  # ns
        TRANSFER_BYTES // _PAGE_BYTES,
        0,
    ).ljust(64, b"\0")


def attributes(status: Status, owner: tuple[int, int]) -> bytes:
    times = (status.accessed_ns, status.modified_ns, status.changed_ns)
    return _ATTR.pack(
        status.inode,
        status.size,
        status.blocks,
        *(max(one, 0) // _S for one in times),
        *(max(one, 0) % _S for one in times),
        status.mode,
        status.links,
        *owner,
        0,
        _PAGE_BYTES,
        0,
    )


def valid(status: Status, owner: tuple[int, int]) -> bytes:
    """Render what GETATTR and SETATTR want."""
    return _VALID.pack(CACHED_S, 0, 0) + attributes(status, owner)


def entry(node: int, status: Status, owner: tuple[int, int]) -> bytes:
    """Render what LOOKUP wants, and all that make something."""
    return _ENTRY.pack(node, 0, CACHED_S, CACHED_S, 0, 0) + attributes(status, owner)


def opened(handle: int, flags: int = 0) -> bytes:
    return struct.pack("=QII", handle, flags, 0)


def written(size: int) -> bytes:
    return struct.pack("=II", size, 0)


def directory_entry(name: str, inode: int, mode: int, offset: int) -> bytes:
    """Render an entry of a folder; the next one is at the offset."""
    raw = name.encode(errors="surrogateescape")
    return (_DIRENT.pack(inode, offset, len(raw), mode >> 12) + raw).ljust((_DIRENT.size + len(raw) + 7) & ~7, b"\0")


def space(told: Space) -> bytes:
    return struct.pack(
        "=5Q4I24x",
        told.blocks,
        told.free,
        told.available,
        told.inodes,
        told.free_inodes,
        told.block_bytes,
        told.name_bytes,
        told.block_bytes,
        0,
    )


def changes(request: Asked, owner: tuple[int, int], now_ns: int) -> tuple[Changes, int | None]:
    """Return what SETATTR wants, and the open file's number, if it names one. Raises PermissionError for chown."""
    found, _, handle, size, _, accessed_s, modified_s, _, accessed, modified, _, mode, _, uid, gid, _ = (
        _SETATTR.unpack_from(request.body)
    )
    if (found & 2 and uid != owner[0]) or (found & 4 and gid != owner[1]):
        raise PermissionError
    wanted = Changes(
        size if found & 8 else None,
        mode & 0o7777 if found & 1 else None,
        _time(found, 16, 128, accessed_s * _S + accessed, now_ns),
        _time(found, 32, 256, modified_s * _S + modified, now_ns),
    )
    return wanted, handle if found & SETATTR_FH else None


def _time(found: int, is_set: int, is_now: int, told_ns: int, now_ns: int) -> int | None:
    if not found & is_set:
        return None
    return now_ns if found & is_now else told_ns


def forgets(request: Asked) -> Iterator[tuple[int, int]]:
    """Yield the nodes that FORGET and BATCH_FORGET name, and how many lookups of each are forgotten."""
    if request.opcode == Opcode.FORGET:
        yield request.node, request.fields("Q")[0]
        return
    count, _ = request.fields("II")
    for place in range(count):
        node, lookups = struct.unpack_from("=QQ", request.body, 8 + 16 * place)
        yield node, lookups
