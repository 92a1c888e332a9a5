"""A file for each intercept that this laptop has in a cluster, written before anything is changed there.

The session holds an flock on its file for as long as it lives. A file without a lock was therefore left by a session
that was killed, and its part in the cluster can be undone at once. Others wait until its Lease has expired.

A record ends with a line feed. One without was never finished, so that nothing was changed in the cluster.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import make_private, writing_to
from ktpy.frozen import dataclass
from ktpy.helper.disk import write_all


@dataclass(frozen=True, slots=True)
class Record:
    """A Record holds enough to find an intercept in its cluster again, and to undo it."""

    session: str
    kind: str
    """exchange, mesh, tap or preview."""
    target: str
    namespace: str
    server: str
    context: str | None
    kubeconfig: str | None


class Records:
    """Records is one user's directory of them. It is persistent, because a session may end with the machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def of(cls, caller: Caller) -> "Records":
        return cls(caller.home / ".local/state/ktpy/intercepts")

    @contextmanager
    def hold(self, record: Record) -> Iterator[None]:
        """Write the record and hold its lock while the block runs. The file stays until somebody calls `forget`.

        Raises FolderNotWritable.
        """
        make_private(self._directory)
        with writing_to(self._directory):
            file = _write(self._directory / f"{record.session}.json", record)
        with file:
            yield

    @contextmanager
    def stale(self) -> Iterator[list[Record]]:
        """Yield the records of sessions that were killed, locked against others who may undo them too."""
        with ExitStack() as locks:
            found = [_lock(path, locks) for path in sorted(self._directory.glob("*.json"))]
            yield [record for record in found if record is not None]

    def put_aside(self) -> list[Path]:
        """Rename files of which nothing can be read, so that each is told of once; return what they are called now.

        Those that were never finished are removed.
        """
        renamed = []
        for path in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(OSError), ExitStack() as locks:  # held by a session, or gone meanwhile
                text = _read_locked(path, locks)
                if _is_json(text):
                    continue
                if not text.endswith(b"\n"):
                    path.unlink()
                else:
                    renamed.append(path.rename(path.with_suffix(".unreadable")))
        return renamed

    def forget(self, record: Record) -> None:
        """Remove the record, because its part in the cluster is undone. One that stays is undone again: a no-op."""
        with contextlib.suppress(OSError):
            (self._directory / f"{record.session}.json").unlink()


def _write(path: Path, record: Record) -> BinaryIO:
    """Write the record into a new file, whole or not at all, and return that, locked. Raises OSError."""
    import fcntl

    with ExitStack() as on_failure:
        while True:
            file = on_failure.enter_context(path.open("xb", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                break  # else somebody took it for one that was never finished, and removed it
        on_failure.callback(path.unlink)
        write_all(file.fileno(), json.dumps(asdict(record)).encode() + b"\n")
        os.fsync(file.fileno())
        on_failure.pop_all()
    return file


def _lock(path: Path, locks: ExitStack) -> Record | None:
    """Return the record; None where somebody holds it, and where the file is not, or was never, finished."""
    try:
        record = Record(**json.loads(_read_locked(path, locks)))
    except (OSError, ValueError, TypeError, RecursionError):  # OSError also where it is gone meanwhile
        return None
    return record if all(isinstance(text, str) for text in (record.kind, record.target, record.namespace)) else None


def _read_locked(path: Path, locks: ExitStack) -> bytes:
    """Raises OSError, also where somebody holds the file, or it is gone."""
    import fcntl

    file = locks.enter_context(path.open("rb"))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file.read()


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
