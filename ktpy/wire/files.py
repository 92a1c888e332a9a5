"""The stream by which a shadow pod hands over what its workload's volumes hold. Pure.

Each entry is a line of JSON; the content of a file follows its line. A mount comes as a whole, between `MOUNT` and
`DONE`, and again when the kubelet has put another version in its place.
"""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

COMMAND: Final = "ktpy-agent files"
"""What a laptop asks sshd to run, on a channel of its own, which lasts until the laptop closes it."""
FILES_DIR: Final = "/run/ktpy-files"
"""The workload's volumes are mounted below this folder of the agent's, each at its own path."""
CLAIM_COMMAND: Final = "ktpy-agent claim "
"""Before the pod's own path of a claim's mount: the channel then synchronizes it, see `wire.sync.frames`."""
CLAIMS_DIR: Final = "/run/ktpy-claims"
"""Claims that are to be synchronized are mounted below this one, so they are not handed over."""
SERVICE_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""The API server mounts the token here, in every container (ServiceAccount admission)."""

MOUNT: Final = "mount"
"""A mount begins; `path` is the pod's own. All other paths are below it, and "" is itself."""
FOLDER: Final = "folder"
FILE: Final = "file"
"""A regular file; DATA follows while there is some."""
LINK: Final = "link"
DATA: Final = "data"
"""Bytes of the last file."""
DONE: Final = "done"
ALL: Final = "all"
"""Every mount has come once."""
_KINDS: Final = (MOUNT, FOLDER, FILE, LINK, DONE, ALL)


class Entry(NamedTuple):
    kind: str
    path: str = ""
    mode: int = 0
    size: int = 0
    """Of a file, in bytes."""
    target: str = ""
    """Of a symbolic link."""
    data: bytes = b""

    def line(self) -> bytes:
        """Render it. Names that are no UTF-8 travel as surrogates (PEP 383)."""
        return json.dumps(self[:5]).encode() + b"\n"


class EntryParser:
    """An EntryParser reads the stream as it comes."""

    def __init__(self) -> None:
        self._unread = b""
        self._left = 0
        """So many bytes of a file are to come."""

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Yield what has arrived. Raises ValueError for what no agent sends, also a path that leads elsewhere."""
        self._unread += data
        while self._unread:
            if self._left:
                part, self._unread = self._unread[: self._left], self._unread[self._left :]
                self._left -= len(part)
                yield Entry(DATA, data=part)
                continue
            line, newline, rest = self._unread.partition(b"\n")
            if not newline:
                return
            self._unread = rest
            entry = _parse(line)
            self._left = entry.size
            yield entry


def _parse(line: bytes) -> Entry:
    try:
        kind, path, mode, size, target = json.loads(line)
    except (TypeError, RecursionError) as exc:
        raise ValueError("it is no entry") from exc
    typed = isinstance(path, str) and isinstance(target, str) and isinstance(mode, int) and isinstance(size, int)
    if kind not in _KINDS or not typed or size < 0 or (size and kind != FILE) or not 0 <= mode <= 0o7777:
        raise ValueError("it is no entry")
    if not is_inside(path.removeprefix("/") if kind in (MOUNT, DONE) else path):
        raise ValueError(f"{path!r} leads elsewhere")
    return Entry(kind, path, mode, size, target)


def is_inside(path: str) -> bool:
    """Tell whether a relative path stays below where it begins, as far as it says itself."""
    return not path or not any(part in ("", ".", "..") or "\0" in part for part in path.split("/"))
