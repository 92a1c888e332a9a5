"""What is known of both sides, and what is to be looked at. No I/O."""

from ktpy.observe.status import SyncProblem
from ktpy.sync.events import ConflictKept, SyncReport
from ktpy.sync.plan import is_ignored
from ktpy.wire.sync.entries import FOLDER, HELD, IGNORED, SEALED, THE_IGNORED, UNREADABLE, Entry, parent_of, shown

_LEFT_OUT = {
    UNREADABLE: "it cannot be read {}: what is in it stays as it is on both sides",
    SEALED: "it cannot be read {}: it stays as it is on both sides",
    HELD: "it was ignored {} until the container changed an ignore file: it stays so until ktpy starts again",
}
"""What people are told of entries that are left out for other reasons than their ignore files."""


class Record:
    """A Record has the two indexes, and the state that both last had in common."""

    def __init__(self, report: SyncReport, common: dict[bytes, Entry]) -> None:
        self.laptop: dict[bytes, Entry] = {}
        self.container: dict[bytes, Entry] = {}
        self.common = common
        self.dirty: set[bytes] = set()
        """Paths whose next steps are to be planned."""
        self.failed: set[bytes] = set()
        """Paths that are to be tried again later."""
        self._untold: set[bytes] = set()
        self._left: dict[bytes, dict[bytes, Entry]] = {}
        """Folders that stay on one side for what is ignored in them, and count as ignored there meanwhile."""
        self.problems: dict[bytes, str] = {}
        self.conflicts = 0
        self.last_error: str | None = None
        self.changes = 0
        self._report = report

    def begin(self, laptop: dict[bytes, Entry]) -> None:
        """Begin with what is on the laptop, and nothing of the container's."""
        self._left.clear()
        self.container.clear()
        self.laptop.clear()
        self.laptop.update(laptop)
        for path, entry in laptop.items():
            self._tell_left_out(path, entry, "on the laptop")

    def note_laptop(self, path: bytes, entry: Entry | None) -> None:
        """Take what is on the laptop now."""
        self._note(self.laptop, path, entry, self.dirty)

    def note_container(self, path: bytes, entry: Entry | None) -> None:
        """Take what is in the container now; it is to be looked at once all is `told`."""
        self._note(self.container, path, entry, self._untold)

    def told(self) -> None:
        self.dirty |= self._untold
        self._untold.clear()

    def _note(self, index: dict[bytes, Entry], path: bytes, entry: Entry | None, dirty: set[bytes]) -> None:
        dirty.add(path)
        if entry:
            self._tell_left_out(path, entry, "on the laptop" if index is self.laptop else "in the container")
        if (old := index.get(path)) and old.kind == IGNORED:
            dirty.update(self._below(path))
        if entry is None:
            index.pop(path, None)
            if self._left.get(path) is index:
                del self._left[path]
            return
        index[path] = entry
        while self._left and entry.kind != IGNORED and path:
            if (side := self._left.pop(path, None)) is not None:  # there is something again
                side[path] = Entry(FOLDER)
                dirty.update(self._below(path), [path])
            path = parent_of(path)

    def _tell_left_out(self, path: bytes, entry: Entry, where: str) -> None:
        if entry.kind == IGNORED and (text := _LEFT_OUT.get(entry)):
            self.problem(path, text.format(where))

    def _below(self, path: bytes) -> set[bytes]:
        """Return all that is known below a path, which counts for nothing while that is ignored."""
        prefix = path + b"/"
        return {one for index in (self.laptop, self.container) for one in index if one.startswith(prefix)}

    def agree(self, path: bytes) -> None:
        """Note that both are the same, or that one has no part in it."""
        entry = self.laptop.get(path)
        if entry not in _LEFT_OUT and self.container.get(path) not in _LEFT_OUT:
            self.problems.pop(path, None)
        if entry is None or is_ignored(path, self.laptop) or is_ignored(path, self.container):
            self.forget(path)
            return
        self.container[path] = entry  # one object for both
        if self.common.get(path) is not entry:
            self.common[path] = entry
            self.changes += 1

    def forget(self, path: bytes) -> None:
        """Note that both have nothing in common there: what one has is new to the other."""
        if self.common.pop(path, None) is not None:
            self.changes += 1

    def leave(self, index: dict[bytes, Entry], path: bytes) -> None:
        """Note that a folder could not be deleted, as something is in it that only its own side knows."""
        self.forget(path)
        prefix = path + b"/"
        if not any(one.startswith(prefix) and entry.kind != IGNORED for one, entry in index.items()):
            index[path] = THE_IGNORED
            self._left[path] = index
        self.dirty.add(path)

    def found(self, index: dict[bytes, Entry], path: bytes, entry: Entry | None) -> None:
        """Note what is there once an entry was to make way for another: with a folder all goes that was in it."""
        if entry is not None:
            index[path] = entry
            return
        prefix = path + b"/"
        for one in [one for one in index if one == path or one.startswith(prefix)]:
            del index[one]
            self.dirty.add(one)

    def done(self, path: bytes, entry: Entry | None) -> None:
        """Note that both have this, or nothing."""
        self.problems.pop(path, None)
        if entry is None:
            self.forget(path)
        else:
            self.common[path] = entry
            self.changes += 1

    def conflict(self, path: bytes, copy: bytes) -> None:
        self.conflicts += 1
        self._report(ConflictKept(shown(path), shown(copy)))

    def problem(self, path: bytes, text: str) -> None:
        """Tell of it, once."""
        self.last_error = f"{shown(path)}: {text}" if path else text
        if self.problems.get(path) != text:
            self.problems[path] = text
            self._report(SyncProblem(shown(path), text))
