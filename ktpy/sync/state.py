"""What both sides last had in common, kept in a file. A state that is older than the sides is safe: what it does not
know counts as new on both, and is compared."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ktpy.wire.sync.entries import Entry, decoded

_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class State:
    container: str
    """The mark of the container's folder."""
    common: Mapping[bytes, Entry]


def identity(folder: Path) -> str:
    """Return what tells the laptop's folder from another one that was made at its path. Raises OSError."""
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}"


def read_state(file: Path, folder: Path) -> State | None:
    """Return the state that belongs to this folder; None for another folder's, and for what cannot be read."""
    try:
        head, _, body = file.read_bytes().partition(b"\n")
        fields = json.loads(head)
        if fields["version"] != _VERSION or fields["laptop"] != identity(folder):
            return None
        common: dict[bytes, Entry] = {}
        at = 0
        while at < len(body):
            entry, path, at = decoded(body, at)
            if entry:
                common[path] = entry
        return State(str(fields["container"]), common) if len(common) == fields["entries"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(file: Path, folder: Path, state: State) -> None:
    """Replace the file as a whole. Raises OSError."""
    fields = {"version": _VERSION, "laptop": identity(folder), "container": state.container}
    head = json.dumps({**fields, "entries": len(state.common)}).encode()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=file.name, dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(head + b"\n")
            stream.writelines(entry.encoded(path) for path, entry in state.common.items())
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
