"""What a journal's file says: reading it, also where some of it cannot be read."""

import json
from dataclasses import dataclass
from pathlib import Path

FORMAT = 2
LOCKED_ITSELF = 1
"""The format of earlier versions, whose helpers hold an flock on the journal, which every user can open."""


@dataclass(frozen=True, slots=True)
class Head:
    """A Head says who wrote the journal, and when."""

    journal_id: str
    owner_uid: int
    helper_pid: int
    created_s: float
    """Unix time: for people, and for the order in which several journals are replayed."""
    helper_ticks: int | None
    """When the helper started, in clock ticks since boot; None of an earlier version, or where it cannot be read."""

    def to_line(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "journal": self.journal_id,
            "owner_uid": self.owner_uid,
            "helper_pid": self.helper_pid,
            "helper_ticks": self.helper_ticks,
            "created_s": self.created_s,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """An Entry is one change as recorded: `kind` names the class that can undo it, `body` is what that class needs."""

    index: int
    kind: str
    summary: str
    body: object


@dataclass(frozen=True, slots=True)
class JournalText:
    """A JournalText is what a journal's file says."""

    head: Head
    pending: list[Entry]
    next_index: int
    unreadable: tuple[str, ...] = ()


def aside(path: Path) -> Path:
    return path.with_suffix(".unreadable")


def head_of(path: Path) -> Head:
    """Return what is known of a journal whose own head cannot be read."""
    try:
        created_s = path.stat().st_mtime
    except OSError:
        created_s = 0.0
    return Head(path.stem, -1, -1, created_s, None)


def parse(path: Path, text: bytes) -> JournalText:
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
            case {"format": version} if version not in (FORMAT, LOCKED_ITSELF):
                raise ValueError(f"this journal has format {version}, another version of ktpy wrote it")
            case {
                "journal": str(name),
                "owner_uid": int(uid),
                "helper_pid": int(pid),
                "created_s": float(created_s),
                **rest,
            }:
                ticks = rest.get("helper_ticks")
                head = Head(name, uid, pid, created_s, ticks if isinstance(ticks, int) else None)
            case _:
                unreadable += 1
    said = (
        f"{unreadable} of the {len(lines)} lines of {path} cannot be read, so what they say is not undone;"
        f" the file is kept as {aside(path).name}"
    )
    return JournalText(head or head_of(path), list(entries.values()), next_index, (said,) if unreadable else ())


def _decoded(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
