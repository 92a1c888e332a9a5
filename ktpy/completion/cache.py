"""Files under $XDG_CACHE_HOME/ktpy that spare the next call some work.

Any of them may be gone, old, damaged or unwritable: then the work is done. A folder or file that is a link, or somebody
else's, is neither read nor written.
"""

import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_MOST_BYTES = 16 << 20


def kept(file: str, key: str, make: Callable[[], Any], *, most: int, max_age_s: float = float("inf")) -> Any:
    """Return what was made under `key`, as JSON, or make it.

    Nothing is returned that was made longer ago than `max_age_s`; the file keeps the `most` that were made last.
    """
    now, entries = time.time(), _fresh(_read(file), max_age_s)
    if key in entries:
        return entries[key][1]
    made = make()
    newest = sorted(entries.items(), key=lambda entry: -entry[1][0])[: most - 1]
    _write(file, {key: [now, made], **dict(newest)})
    return made


def forget(file: str) -> None:
    """Delete the file."""
    with suppress(OSError), _folder() as folder:
        os.unlink(file, dir_fd=folder)


def stamps(paths: Iterable[str]) -> list[Any]:
    """Return of each file what changes when it does, also when it comes or goes. It is for keys."""
    found: list[Any] = []
    for path in map(os.path.abspath, map(os.path.expanduser, paths)):
        try:
            seen = os.stat(path)
            found.append([path, seen.st_ino, seen.st_mode, seen.st_uid, seen.st_size, seen.st_mtime_ns])
        except OSError:
            found.append(path)
    return found


def _fresh(document: Any, max_age_s: float) -> dict[str, list[Any]]:
    """Return the entries that are not too old; what is malformed, or from the future, is too old."""
    now = time.time()

    def is_fresh(entry: Any) -> bool:
        is_dated = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], float)
        return is_dated and 0 <= now - entry[0] <= max_age_s

    entries = document.items() if isinstance(document, dict) else ()
    return {key: entry for key, entry in entries if is_fresh(entry)}


@contextmanager
def _folder(*, make: bool = False) -> Iterator[int]:
    """Open the folder. Raises OSError, also where it is a link, or where others may write."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the XDG Base Directory Specification has it
        base = os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(base, "ktpy")
    if make:
        os.makedirs(path, 0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _refuse_foreign(os.fstat(folder))
        yield folder
    finally:
        os.close(folder)


def _refuse_foreign(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError


def _read(file: str) -> Any:
    try:
        with _folder() as folder:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(descriptor, "rb") as opened:
            found = os.fstat(descriptor)
            _refuse_foreign(found)
            is_readable = stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_BYTES
            return json.loads(opened.read()) if is_readable else None
    except (OSError, ValueError, RecursionError):
        return None


def _write(file: str, document: Any) -> None:
    """Put the document in the file's place at once: who reads meanwhile has all of the old one, or of the new one."""
    fresh = f".{file}.{os.getpid()}"
    with suppress(OSError), _folder(make=True) as folder:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            with open(descriptor, "w") as opened:
                json.dump(document, opened, separators=(",", ":"))
            os.rename(fresh, file, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(fresh, dir_fd=folder)
            raise
