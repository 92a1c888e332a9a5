"""The journal records what must be undone, and outlives the helper.

Each helper has a file under /var/lib/ktpy/journal, on disk and not under /run, because a changed /etc/resolv.conf
survives a reboot as well. A file is JSON lines: a head, then one line per change, written and fsynced *before*
the change is made, and one line per change that has been undone. A line is written whole or not at all, also on a
full disk, and a change without its line is not made. So a crash costs at most a torn last line, whose change was never
made. Should another line be unreadable, the rest is undone nevertheless. The file goes when all its changes are undone.

The helper holds an flock(2) on its file for as long as it lives, whatever kills it, so anybody can see, without
being root, whether a journal is stale. Every command imports this module at its start, so it imports nothing heavy.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ktpy.errors import FolderNotWritable
from ktpy.helper.disk import sync_folder, write_all

STATE_DIR = Path("/var/lib/ktpy")
JOURNAL_DIR = STATE_DIR / "journal"
FORMAT = 1

LOCK_WAIT_S = 1.0
"""A lock may take this long: `stale`, which anybody may call, takes a shared one for an instant."""


@dataclass(frozen=True, slots=True)
class Head:
    """A Head says who wrote the journal, and when."""

    journal_id: str
    owner_uid: int
    helper_pid: int
    created_s: float
    """Unix time: for people, and for the order in which several journals are replayed."""


@dataclass(frozen=True, slots=True)
class StaleJournal:
    """A StaleJournal is one whose helper is gone: `ktpy clean`, or the next connect, replays it."""

    head: Head
    pending: tuple[str, ...]
    """The changes still to be undone, in words, the latest first."""
    unreadable: tuple[str, ...] = ()
    """What of it cannot be read and so cannot be undone, in sentences."""

    @property
    def left(self) -> tuple[str, ...]:
        return self.pending + self.unreadable


@dataclass(frozen=True, slots=True)
class Entry:
    """An Entry is one change as recorded: `kind` names the class that can undo it, `body` is what that class needs."""

    index: int
    kind: str
    summary: str
    body: object


@dataclass(frozen=True, slots=True)
class _Content:
    """A _Content is what a journal's file says."""

    head: Head
    pending: list[Entry]
    next_index: int
    unreadable: tuple[str, ...] = ()


class Journal:
    """A Journal is an open journal file, locked by us. `create` and `open_stale` make one."""

    def __init__(self, path: Path, file: BinaryIO, content: _Content) -> None:
        self.path = path
        self.head = content.head
        self.unreadable = content.unreadable
        """What of it cannot be read, in sentences."""
        self._file = file
        self._pending = content.pending
        self._next_index = content.next_index

    @classmethod
    def create(cls, owner_uid: int, directory: Path = JOURNAL_DIR) -> "Journal":
        """Start a journal. It is locked before it gets its name, so that it never looks stale.

        Raises FolderNotWritable, with no file left behind.
        """
        head = Head(secrets.token_hex(4), owner_uid, os.getpid(), time.time())
        path = directory / f"{head.journal_id}.json"
        unnamed = directory / f".{head.journal_id}.new"
        with _refusing(directory), contextlib.ExitStack() as on_failure:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            on_failure.callback(unnamed.unlink, missing_ok=True)
            file = on_failure.enter_context(os.fdopen(descriptor, "ab", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX)
            journal = cls(path, file, _Content(head, [], 0))
            journal._append(
                {
                    "format": FORMAT,
                    "journal": head.journal_id,
                    "owner_uid": owner_uid,
                    "helper_pid": head.helper_pid,
                    "created_s": head.created_s,
                }
            )
            unnamed.rename(path)
            on_failure.callback(path.unlink, missing_ok=True)
            sync_folder(directory)
            on_failure.pop_all()
        return journal

    @classmethod
    def open_stale(cls, path: Path) -> "Journal | None":
        """Take over a journal whose helper is gone; return None if it is alive, or the journal is finished.

        Raises OSError, and ValueError for a file that another version wrote.
        """
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError:
            return None
        try:
            alive = not _lock(file, fcntl.LOCK_SH)
            if alive or not _lock(file, fcntl.LOCK_EX, LOCK_WAIT_S) or os.fstat(file.fileno()).st_nlink == 0:
                file.close()
                return None
            text = file.read()
            content = _parse(path, text)
            if not text.endswith(b"\n"):  # a torn last line: cut it, or the next one would be glued to it
                file.truncate(text.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
        except BaseException:
            file.close()
            raise
        return cls(path, file, content)

    @property
    def journal_id(self) -> str:
        return self.head.journal_id

    @property
    def pending(self) -> tuple[Entry, ...]:
        """Return the changes that are not undone yet, the latest first."""
        return tuple(reversed(self._pending))

    def record(self, kind: str, summary: str, body: object) -> Entry:
        """Put a change on disk. The change may be made only after this has returned. Raises FolderNotWritable."""
        entry = Entry(self._next_index, kind, summary, body)
        with _refusing(self.path.parent):
            self._append({"change": entry.index, "kind": kind, "summary": summary, "body": body})
        self._next_index += 1
        self._pending.append(entry)
        return entry

    def mark_undone(self, entry: Entry) -> None:
        """Put on disk that the change is undone. Where there is no room it is undone once more, which does nothing."""
        self._pending.remove(entry)
        with contextlib.suppress(OSError):
            self._append({"undone": entry.index})

    def close(self) -> None:
        """Release the lock and, when nothing is left to undo, delete the file; else it is stale from here on.

        A file with unreadable lines is put aside for people to look at. Raises OSError.
        """
        with self._file, contextlib.suppress(FileNotFoundError):  # somebody tidied up by hand
            if not self._pending and self.unreadable:
                self.path.rename(_aside(self.path))
            elif not self._pending:
                self.path.unlink()

    def _append(self, line: dict[str, object]) -> None:
        """Write a line, whole or not at all. Raises OSError."""
        descriptor = self._file.fileno()
        end_bytes = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, end_bytes)
            raise


def stale(directory: Path = JOURNAL_DIR) -> list[StaleJournal]:
    """Return the journals whose helpers are gone, the youngest first, also those that cannot be read.

    Needs no root, changes nothing.
    """
    found = []
    for path in _paths(directory):
        try:
            with path.open("rb", buffering=0) as file:
                if _lock(file, fcntl.LOCK_SH) and os.fstat(file.fileno()).st_nlink:
                    content = _parse(path, file.read())
                    pending = tuple(entry.summary for entry in reversed(content.pending))
                    found.append(StaleJournal(content.head, pending, content.unreadable))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as exc:
            found.append(StaleJournal(_head_of(path), (), (f"{path}: {exc}",)))
    return sorted(found, key=lambda journal: journal.head.created_s, reverse=True)


def open_all_stale(directory: Path = JOURNAL_DIR) -> tuple[list[Journal], list[str]]:
    """Take over every stale journal, the youngest first: changes are undone in the reverse of their order.

    The second list says which files could not be read.
    """
    journals, unreadable = [], []
    for path in _paths(directory):
        try:
            journal = Journal.open_stale(path)
        except (OSError, ValueError) as exc:
            unreadable.append(f"{path}: {exc}")
        else:
            if journal is not None:
                journals.append(journal)
    return sorted(journals, key=lambda journal: journal.head.created_s, reverse=True), unreadable


def pending_of(journal_id: str, directory: Path = JOURNAL_DIR) -> tuple[Entry, ...]:
    """Return what any helper's journal still has to undo, as far as it can be read; `stale` names what cannot."""
    path = directory / f"{journal_id}.json"
    try:
        content = _parse(path, path.read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(reversed(content.pending))


def journal_ids(directory: Path = JOURNAL_DIR) -> list[str]:
    return [path.stem for path in _paths(directory)]


@contextlib.contextmanager
def exclusive(directory: Path = JOURNAL_DIR) -> Iterator[None]:
    """Exclude other helpers while something changes that all of them share, such as /etc/resolv.conf."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def undo_all(journal: Journal, undo: Callable[[Entry], str | None]) -> tuple[list[str], list[str], list[str]]:
    """Undo what is pending, the latest first, and close the journal; a failure stops nothing.

    `undo` returns a sentence when it left something alone because it is no longer ours. This returns, in
    words, what was undone, what was left alone, and what failed and stays in the journal.
    """
    undone, left, failures = [], [], list(journal.unreadable)
    for entry in journal.pending:
        try:
            remark = undo(entry)
            journal.mark_undone(entry)
        except Exception as exc:  # whatever it is, the rest must still be undone
            failures.append(f"{entry.summary}: {exc}")
        else:
            undone.append(entry.summary) if remark is None else left.append(remark)
    try:
        journal.close()
    except OSError as exc:
        failures.append(f"{journal.path} cannot be removed: {exc.strerror}")
    return undone, left, failures


def _paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))  # hidden ones have no name yet; no directory, no journals


def _aside(path: Path) -> Path:
    return path.with_suffix(".unreadable")


def _head_of(path: Path) -> Head:
    """Return what is known of a journal whose own head cannot be read."""
    try:
        created_s = path.stat().st_mtime
    except OSError:
        created_s = 0.0
    return Head(path.stem, -1, -1, created_s)


def _parse(path: Path, text: bytes) -> _Content:
    """Read a journal's text. A torn last line (no line feed) is a change that was never made.

    A line that cannot be read hides no other. Raises ValueError for the file of another version.
    """
    lines = text.split(b"\n")[:-1]
    head, entries, next_index, unreadable = None, dict[int, Entry](), 0, 0
    for line in lines:
        match _decoded(line):
            case {"change": int(index), "kind": str(kind), "summary": str(summary), "body": body}:
                entries[index] = Entry(index, kind, summary, body)
                next_index = max(next_index, index + 1)
            case {"undone": int(index)}:
                entries.pop(index, None)  # its own line may be unreadable
            case {"format": version} if version != FORMAT:
                raise ValueError(f"this journal has format {version}, another version of ktpy wrote it")
            case {"journal": str(name), "owner_uid": int(uid), "helper_pid": int(pid), "created_s": float(created_s)}:
                head = Head(name, uid, pid, created_s)
            case _:
                unreadable += 1
    said = (
        f"{unreadable} of the {len(lines)} lines of {path} cannot be read, so what they say is not undone;"
        f" the file is kept as {_aside(path).name}"
    )
    return _Content(head or _head_of(path), list(entries.values()), next_index, (said,) if unreadable else ())


def _decoded(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _refusing(directory: Path) -> Iterator[None]:
    """Raise FolderNotWritable, which says that the change is not made, in place of an OSError."""
    try:
        yield
    except OSError as exc:
        raise FolderNotWritable(
            f"ktpy cannot write down in {directory} how to undo a change ({exc.strerror}), so it did not make it.",
            hint=f"Make room there, then try again; how much there is: df -h {directory.parent}",
        ) from exc


def _lock(file: BinaryIO, operation: int, wait_s: float = 0.0) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True
