"""Locks that only root can hold: flock(2), in a folder that nobody else may enter.

A lock goes with its holder, whatever kills it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ktpy.errors import HelperFailed
from ktpy.helper.processes import describe

EXCLUSIVE_WAIT_S = 5.0
"""What another helper does meanwhile takes milliseconds."""


class Lock:
    """A Lock is a file that we hold an flock on."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, wait_s: float = 0.0) -> "Lock":
        """Take a lock. Raises OSError; TimeoutError, which names the holder, after `wait_s` seconds."""
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            lock(descriptor, wait_s)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self, *, for_good: bool) -> None:
        """Release it; `for_good` removes its file, too."""
        try:
            if for_good:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder that root alone may enter. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself. Raises HelperFailed, which names the holder, after EXCLUSIVE_WAIT_S."""
    make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            lock(descriptor, EXCLUSIVE_WAIT_S)
        except TimeoutError as exc:
            raise HelperFailed(
                f"For {EXCLUSIVE_WAIT_S:.0f} s {exc}, so ktpy did not make the change.",
                hint="Only root can hold it. See what that process does, or end it, and try again.",
            ) from exc
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, wait_s: float) -> None:
    """Take an flock. Raises TimeoutError, which names the holder, after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                held_by = " and ".join(map(describe, holders(descriptor))) or "another process"
                raise TimeoutError(
                    f"{held_by} holds the lock {Path(f'/proc/self/fd/{descriptor}').readlink()}"
                ) from None
            time.sleep(0.02)
        else:
            return


def holders(descriptor: int) -> list[int]:
    """Return the processes that hold an flock on an open file, as far as we may see them (proc_locks(5))."""
    inode = str(os.fstat(descriptor).st_ino)
    found = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return [int(pid) for _, kind, _, _, pid, file, *_ in found if kind == "FLOCK" and file.rpartition(":")[2] == inode]
