"""The journal records what must be undone, and outlives the helper.

Each helper has a file under /var/lib/ktpy/journal, on disk and not under /run, because a changed /etc/resolv.conf
survives a reboot as well. A file is JSON lines: a head, then one line per change, written and fsynced *before*
the change is made, and one line per change that has been undone. It only ever grows, so that a crash costs at
most a torn last line, and a change whose line is torn was never made. The file goes when all its changes are undone.

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


@dataclass(frozen=True, slots=True)
class Entry:
    """An Entry is one change as recorded: `kind` names the class that can undo it, `body` is what that class needs."""

    index: int
    kind: str
    summary: str
    body: object


class Journal:
    """A Journal is an open journal file, locked by us. `create` and `open_stale` make one."""

    def __init__(self, path: Path, file: BinaryIO, head: Head, pending: list[Entry], next_index: int) -> None:
        self.path = path
        self.head = head
        self._file = file
        self._pending = pending
        self._next_index = next_index

    @classmethod
    def create(cls, owner_uid: int, directory: Path = JOURNAL_DIR) -> "Journal":
        """Start a journal. It is locked before it gets its name, so that it never looks stale. Raises OSError."""
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        head = Head(secrets.token_hex(4), owner_uid, os.getpid(), time.time())
        path = directory / f"{head.journal_id}.json"
        unnamed = directory / f".{head.journal_id}.new"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        file = os.fdopen(descriptor, "ab", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        journal = cls(path, file, head, [], 0)
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
        _fsync_directory(directory)
        return journal

    @classmethod
    def open_stale(cls, path: Path) -> "Journal | None":
        """Take over a journal whose helper is gone; return None if it is alive, or the journal is finished.

        Raises OSError, and ValueError for a file that is no journal.
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
            head, pending, next_index = _parse(text)
            if not text.endswith(b"\n"):  # a torn last line: cut it, or the next one would be glued to it
                file.truncate(text.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
        except BaseException:
            file.close()
            raise
        return cls(path, file, head, pending, next_index)

    @property
    def journal_id(self) -> str:
        return self.head.journal_id

    @property
    def pending(self) -> tuple[Entry, ...]:
        """Return the changes that are not undone yet, the latest first."""
        return tuple(reversed(self._pending))

    def record(self, kind: str, summary: str, body: object) -> Entry:
        """Put a change on disk. The change may be made only after this has returned. Raises OSError."""
        entry = Entry(self._next_index, kind, summary, body)
        self._append({"change": entry.index, "kind": kind, "summary": summary, "body": body})
        self._next_index += 1
        self._pending.append(entry)
        return entry

    def mark_undone(self, entry: Entry) -> None:
        """Put on disk that the change is undone. Raises OSError."""
        self._append({"undone": entry.index})
        self._pending.remove(entry)

    def close(self) -> None:
        """Release the lock and, when nothing is left to undo, delete the file; else it is stale from here on."""
        if not self._pending:
            with contextlib.suppress(FileNotFoundError):  # somebody tidied up by hand
                self.path.unlink()
        self._file.close()

    def _append(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        os.fsync(self._file.fileno())


def stale(directory: Path = JOURNAL_DIR) -> list[StaleJournal]:
    """Return the journals whose helpers are gone, the youngest first. Needs no root, changes nothing."""
    found = []
    for path in _paths(directory):
        with contextlib.suppress(OSError, ValueError), path.open("rb", buffering=0) as file:
            if _lock(file, fcntl.LOCK_SH) and os.fstat(file.fileno()).st_nlink:
                head, pending, _ = _parse(file.read())
                found.append(StaleJournal(head, tuple(entry.summary for entry in reversed(pending))))
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
    """Return what any helper's journal still has to undo; nothing if there is no such journal."""
    try:
        _, pending, _ = _parse((directory / f"{journal_id}.json").read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(reversed(pending))


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
    undone, left, failures = [], [], []
    for entry in journal.pending:
        try:
            remark = undo(entry)
            journal.mark_undone(entry)
        except Exception as exc:  # whatever it is, the rest must still be undone
            failures.append(f"{entry.summary}: {exc}")
        else:
            undone.append(entry.summary) if remark is None else left.append(remark)
    journal.close()
    return undone, left, failures


def _paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))  # hidden ones have no name yet; no directory, no journals


def _parse(text: bytes) -> tuple[Head, list[Entry], int]:
    """Read a journal's text. A torn last line (no line feed) is a change that was never made. Raises ValueError."""
    lines = [json.loads(line) for line in text.split(b"\n")[:-1]]
    try:
        head_line, *changes = lines
        if head_line["format"] != FORMAT:
            raise ValueError(f"this journal has format {head_line['format']}, another version of ktpy wrote it")
        head = Head(head_line["journal"], head_line["owner_uid"], head_line["helper_pid"], head_line["created_s"])
        entries = {
            line["change"]: Entry(line["change"], line["kind"], line["summary"], line["body"])
            for line in changes
            if "change" in line
        }
        next_index = len(entries)
        for line in changes:
            if "undone" in line:
                del entries[line["undone"]]
    except (KeyError, TypeError) as exc:
        raise ValueError(f"this is no journal of ktpy ({exc!r})") from exc
    return head, list(entries.values()), next_index


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


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
