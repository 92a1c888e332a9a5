"""The journal records what must be undone, and outlives the helper.

Each helper has a file under /var/lib/ktpy/journal, on disk and not under /run, because a changed /etc/resolv.conf
survives a reboot as well. A file is JSON lines: a head, then one line per change, written and fsynced *before*
the change is made, and one line per change that has been undone. A line is written whole or not at all, also on a
full disk, and a change without its line is not made. So a crash costs at most a torn last line, whose change was never
made. Should another line be unreadable, the rest is undone nevertheless. The file goes when all its changes are undone.

Everybody may read a journal: who is connected since when, and whether his helper still runs. That it does is certain
from a lock, which goes with the helper, whatever kills it. Only root can hold one: they are files of mode 0600 in
/var/lib/ktpy/locks, which nobody else may enter. Every command imports this module at its start, so it imports nothing
heavy.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ktpy.errors import FolderNotWritable, KtpyError
from ktpy.helper import locks
from ktpy.helper.disk import sync_folder, write_all
from ktpy.helper.journal_text import Entry, Head, JournalText, aside, head_of, parse
from ktpy.helper.locks import Lock
from ktpy.helper.processes import is_running, start_ticks

STATE_DIR = Path("/var/lib/ktpy")
JOURNAL_DIR = STATE_DIR / "journal"

LOCK_WAIT_S = 1.0
"""Another helper may take this long to undo the same journal."""


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


class Journal:
    """A Journal is an open journal file, whose lock is ours. `create` and `open_stale` make one."""

    def __init__(self, path: Path, file: BinaryIO, lock: Lock, content: JournalText) -> None:
        self.path = path
        self.head = content.head
        self.unreadable = content.unreadable
        """What of it cannot be read, in sentences."""
        self._file = file
        self._lock = lock
        self._pending = content.pending
        self._next_index = content.next_index

    @classmethod
    def create(cls, owner_uid: int, directory: Path = JOURNAL_DIR) -> "Journal":
        """Start a journal. It is locked before it gets its name, so that it never looks stale.

        Raises FolderNotWritable, with no file left behind.
        """
        head = Head(secrets.token_hex(4), owner_uid, os.getpid(), time.time(), start_ticks(os.getpid()))
        path = directory / f"{head.journal_id}.json"
        unnamed = directory / f".{head.journal_id}.new"
        with _refusing(directory), exclusive(directory), contextlib.ExitStack() as on_failure:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = Lock.take(_lock_of(path))
            on_failure.callback(lock.release, for_good=True)
            descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            on_failure.callback(unnamed.unlink, missing_ok=True)
            file = on_failure.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            journal = cls(path, file, lock, JournalText(head, [], 0))
            journal._append(head.to_line())
            unnamed.rename(path)
            on_failure.callback(path.unlink, missing_ok=True)
            sync_folder(directory)
            on_failure.pop_all()
        return journal

    @classmethod
    def open_stale(cls, path: Path) -> "Journal | None":
        """Take over a journal whose helper is gone; return None if it is alive, or the journal is finished.

        Raises OSError, TimeoutError where somebody holds its lock, and ValueError for a file of another version.
        """
        with contextlib.ExitStack() as on_failure:
            try:
                file = on_failure.enter_context(path.open("r+b", buffering=0))
            except FileNotFoundError:
                return None
            head = parse(path, file.read()).head
            is_alive = _is_alive(file, head)
            wait_s = 0.0 if is_alive else LOCK_WAIT_S
            try:
                lock = Lock.take(_lock_of(path), wait_s)
                on_failure.callback(lock.release, for_good=True)
                if head.helper_ticks is None:
                    locks.lock(file.fileno(), wait_s)
            except TimeoutError:
                if is_alive:
                    return None
                raise
            if os.fstat(file.fileno()).st_nlink == 0:
                return None
            file.seek(0)
            text = file.read()
            journal = cls(path, file, lock, parse(path, text))
            if not text.endswith(b"\n"):  # a torn last line: cut it, or the next one would be glued to it
                file.truncate(text.rfind(b"\n") + 1)
            on_failure.pop_all()
        return journal

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
        try:
            with self._file, contextlib.suppress(FileNotFoundError):  # somebody tidied up by hand
                if not self._pending and self.unreadable:
                    self.path.rename(aside(self.path))
                elif not self._pending:
                    self.path.unlink()
        finally:
            self._lock.release(for_good=not self._pending)

    def _append(self, line: dict[str, object]) -> None:
        """Write a line, whole or not at all. Raises OSError."""
        descriptor = self._file.fileno()
        end_bytes = os.lseek(descriptor, 0, os.SEEK_END)
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
                content = parse(path, file.read())
                if not _is_alive(file, content.head) and os.fstat(file.fileno()).st_nlink:
                    pending = tuple(entry.summary for entry in reversed(content.pending))
                    found.append(StaleJournal(content.head, pending, content.unreadable))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as exc:
            found.append(StaleJournal(head_of(path), (), (f"{path}: {exc}",)))
    return sorted(found, key=lambda journal: journal.head.created_s, reverse=True)


def open_all_stale(directory: Path = JOURNAL_DIR) -> tuple[list[Journal], list[str]]:
    """Take over every stale journal, the youngest first: changes are undone in the reverse of their order.

    The second list says which files could not be read.
    """
    _tidy(directory)
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
        content = parse(path, path.read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(reversed(content.pending))


def journal_ids(directory: Path = JOURNAL_DIR) -> list[str]:
    return [path.stem for path in _paths(directory)]


def exclusive(directory: Path = JOURNAL_DIR) -> contextlib.AbstractContextManager[None]:
    """Exclude other helpers while something changes that all of them share, such as /etc/resolv.conf.

    Raises HelperFailed where that takes too long, and OSError.
    """
    return locks.exclusive(_locks(directory))


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


def _locks(directory: Path) -> Path:
    return directory.parent / "locks"


def _lock_of(path: Path) -> Path:
    return _locks(path.parent) / path.stem


def _is_alive(file: BinaryIO, head: Head) -> bool:
    """Tell whether the journal's helper runs, as far as that can be seen without its lock."""
    if head.helper_ticks is None:  # an earlier version's helper holds a lock on the journal itself
        return head.helper_pid in locks.holders(file.fileno())
    return is_running(head.helper_pid, head.helper_ticks)


def _tidy(directory: Path) -> None:
    """Remove what a kill within `create` or `close` has left: journals without a name, locks without a journal."""

    def leftovers() -> list[Path]:
        return [
            *directory.glob(".*.new"),
            *(lock for lock in _locks(directory).glob("*") if not (directory / f"{lock.name}.json").exists()),
        ]

    if leftovers():
        with contextlib.suppress(KtpyError, OSError), exclusive(directory):
            for path in leftovers():
                path.unlink(missing_ok=True)


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
