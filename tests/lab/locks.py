"""File locks: one `up` or `down` of a lab at a time, one build of an artifact at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tests.lab.layout import Layout
from tests.lab.report import say


def lab_lock(layout: Layout) -> contextlib.AbstractContextManager[None]:
    """One command at a time on a lab that makes, changes or removes something of it."""
    return locked(layout.lock_file, waiting_for=f"another command on lab {layout.name!r}")


@contextlib.contextmanager
def locked(path: Path, *, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on `path` (flock(2): the kernel lets go of it when the process dies).

    The file may be removed by whoever holds the lock; who then gets a lock on the removed file tries again.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for {waiting_for}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
