"""What a synchronized folder holds, as an index has it, and the names that the synchronization gives. Pure."""

import struct
from typing import Final, NamedTuple

from ktpy.wire.sync.ignore import ALWAYS, OWN_PREFIX

FILE: Final = 1
FOLDER: Final = 2
LINK: Final = 3
IGNORED: Final = 4
"""There is something that has no part in it: ignored, no regular file, or not readable. Nobody touches it."""

DIGEST_BYTES: Final = 16
MODE_BITS: Final = 0o777
"""What is synchronized of a mode; never set-user-ID and its like."""
LAPTOP: Final = "laptop"
CONTAINER: Final = "container"

_SUFFIX_MAX_BYTES: Final = 32
"""What follows a dot further from the end is no suffix that a conflict copy has to keep."""
_FIXED: Final = struct.Struct("!BHQqHH")


class Entry(NamedTuple):
    kind: int
    mode: int = 0
    size: int = 0
    """Of a file, in bytes."""
    content: bytes = b""
    """Of a file the digest (16 bytes of SHA-256), of a symbolic link the target."""
    changed_ns: int = 0
    """Its mtime by its own side's clock."""

    def is_same(self, other: "Entry | None") -> bool:
        """Tell whether both mean the same; times do not count."""
        return other is not None and self[:4] == other[:4]

    def encoded(self, path: bytes) -> bytes:
        return _FIXED.pack(*self[:3], self.changed_ns, len(self.content), len(path)) + self.content + path


THE_IGNORED: Final = Entry(IGNORED)
UNREADABLE: Final = Entry(IGNORED, content=b"unreadable")
"""A folder that cannot be looked through: nobody knows what is in it."""
SEALED: Final = Entry(IGNORED, content=b"sealed")
"""A file that cannot be read: nobody knows what it holds."""
HELD: Final = Entry(IGNORED, content=b"held")
"""It was ignored until the other side changed an ignore file."""
ABSENT: Final = Entry(0)
"""What travels for an entry that there is not."""


def decoded(data: bytes, at: int = 0, *, has_path: bool = True) -> tuple[Entry | None, bytes, int]:
    """Return an entry, its path and where it ends. Raises ValueError for what no side sends, also a bad path."""
    try:
        kind, mode, size, changed_ns, content_bytes, path_bytes = _FIXED.unpack_from(data, at)
    except struct.error as exc:
        raise ValueError("an entry is cut") from exc
    at += _FIXED.size
    path_at, end = at + content_bytes, at + content_bytes + path_bytes
    content, path = data[at:path_at], data[path_at:end]
    if end > len(data) or kind > IGNORED or mode & ~MODE_BITS or (kind == FILE and content_bytes != DIGEST_BYTES):
        raise ValueError("it is no entry")
    if has_path or path:
        check_path(path)
    return (Entry(kind, mode, size, content, changed_ns) if kind else None), path, end


def check_path(path: bytes) -> None:
    """Raise ValueError for a path that leads out of the folder, or to what never leaves its side."""
    for part in path.split(b"/"):
        is_own = part.lower() in ALWAYS or part.startswith(OWN_PREFIX)
        if part in (b"", b".", b"..") or b"\0" in part or is_own:
            raise ValueError(f"{path!r} leads elsewhere")


def parent_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def conflict_name(path: bytes, side: str, version: bytes, attempt: int) -> bytes:
    """Return the name of a conflict copy, which tells whose it is: app.conflict-container-1f3a9c2e.py.

    `version` tells copies of one name apart; `attempt` counts from 0, for a name that is taken.
    """
    folder, slash, name = path.rpartition(b"/")
    stem, dot, suffix = name.rpartition(b".")
    if not stem or len(suffix) > _SUFFIX_MAX_BYTES:
        stem, dot, suffix = name, b"", b""
    number = f"-{attempt + 1}" if attempt else ""
    mark = f".conflict-{side}-{version[:4].hex()}{number}".encode()
    kept = 255 - len(mark) - len(dot + suffix)  # NAME_MAX
    while kept < len(stem) and stem[kept] & 0xC0 == 0x80:  # amid a character of UTF-8
        kept -= 1
    return folder + slash + stem[:kept] + mark + dot + suffix


def shown(path: bytes) -> str:
    """Return a path for people: bytes that are no UTF-8 as escapes."""
    return path.decode(errors="backslashreplace")
