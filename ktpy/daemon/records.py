"""A file for each intercept that this laptop has in a cluster, written before anything is changed there.

The session holds an flock on its file for as long as it lives. A file without a lock was therefore left by a session
that was killed, and its part in the cluster can be undone at once. Others wait until its Lease has expired.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import make_private


@dataclass(frozen=True, slots=True)
class Record:
    """A Record holds enough to find an intercept in its cluster again, and to undo it."""

    session: str
    kind: str
    """exchange, mesh or preview."""
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
        path = self._directory / f"{record.session}.json"
        with path.open("x") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
            yield

    @contextmanager
    def stale(self) -> Iterator[list[Record]]:
        """Yield the records of sessions that were killed, locked against others who may undo them too."""
        with ExitStack() as locks:
            found = [_lock(path, locks) for path in sorted(self._directory.glob("*.json"))]
            yield [record for record in found if record is not None]

    def forget(self, record: Record) -> None:
        """Remove the record, because its part in the cluster is undone."""
        (self._directory / f"{record.session}.json").unlink(missing_ok=True)


def _lock(path: Path, locks: ExitStack) -> Record | None:
    """Return the record; None where somebody holds it, and where the file is not, or was never, finished."""
    try:
        file = locks.enter_context(path.open("rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Record(**json.load(file))
    except (OSError, ValueError, TypeError):  # OSError also where it is gone meanwhile
        return None
