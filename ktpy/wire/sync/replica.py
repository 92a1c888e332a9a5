"""One side of a synchronized folder: what is there, what has changed, and changes of it as the other side asks."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from ktpy.wire.sync.blocks import PART_SUFFIX, Incoming, failure
from ktpy.wire.sync.entries import (
    FILE,
    FOLDER,
    HELD,
    IGNORED,
    LAPTOP,
    LINK,
    THE_IGNORED,
    UNREADABLE,
    Entry,
    conflict_name,
)
from ktpy.wire.sync.folder import Folder, Known, digest, seen, settled, signature
from ktpy.wire.sync.frames import DONE, FAILED, STALE, Request, Result
from ktpy.wire.sync.ignore import ALWAYS, OWN_PREFIX, RULE_FILES, Rules
from ktpy.wire.sync.inotify import Inotify

KEPT_S: Final = 86400.0
"""Of a transfer that was cut, what has come is kept so long."""
_RULES_MAX_BYTES: Final = 1 << 20
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Instead of a folder: what is there now, its parent will show."""

Change = tuple[bytes, Entry | None]


class _UnexpectedError(Exception):
    """What is there is not what the request expects."""


class Replica:
    """A Replica has an index of the folder, which `scan` makes, `rescan` keeps, and every request brings up to date."""

    def __init__(self, folder: Folder, side: str, inotify: Inotify | None = None) -> None:
        """`side` is named by conflict copies."""
        self.folder = folder
        self.inotify = inotify
        self._side = side
        self._index: dict[bytes, dict[bytes, Known]] = {}
        self._looked: dict[bytes, tuple[int, int]] = {}
        """Device and inode of the folders that were looked through, and are watched since."""
        self._rules = Rules()
        self._own_rules: dict[bytes, bytes] = {}
        self._given_rules: Mapping[bytes, bytes] = {}

    @property
    def rules(self) -> Mapping[bytes, bytes]:
        """The joined contents of the ignore files of each folder that has any."""
        return self._own_rules

    def give_rules(self, rules: Mapping[bytes, bytes]) -> None:
        """Let the other side's ignore files count in place of those that are here; `scan` sees what that changes."""
        gone, self._given_rules = set(self._given_rules) - set(rules), rules
        for folder in {*gone, *rules}:
            self._rules.set(folder, rules.get(folder, self._own_rules.get(folder, b"")))

    def known(self, path: bytes) -> Entry | None:
        """Return what was there when it was last looked at."""
        folder, _, name = path.rpartition(b"/")
        known = self._index.get(folder, {}).get(name)
        return known.entry if known else None

    def everything(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield what was there when it was last looked at."""
        for folder, children in self._index.items():
            prefix = folder + b"/" if folder else b""
            for name, known in children.items():
                yield prefix + name, known.entry

    def folds_case(self) -> bool:
        """Tell whether names that differ in case are one name here, as far as the names in the folder show it."""
        names = {os.fsencode(name) for name in os.listdir(self.folder.root)}  # noqa: PTH208 - pathlib has no descriptors
        other = next((name.swapcase() for name in names if name.swapcase() not in names), None)
        return other is not None and self.folder.status(other) is not None

    # --- what has changed

    def scan(self) -> Iterator[Change]:
        """Look through the whole folder; yield what is not as it was. Ignored folders are not entered."""
        yield from self._look_below(b"", is_deep=True)

    def rescan(self, folders: set[bytes]) -> Iterator[Change]:
        """Look through these folders, and those that are new in them."""
        for folder in sorted(folders):
            if folder in self._looked:
                yield from self._look_below(folder, is_deep=False)

    def _look_below(self, top: bytes, *, is_deep: bool) -> Iterator[Change]:
        todo = [(top, is_deep)]
        while todo:
            folder, is_deep = todo.pop()
            has_new_rules, changes, inner = self._look(folder)
            yield from changes
            todo += [(one, True) for one, is_new in inner.items() if is_deep or has_new_rules or is_new]

    def _look(self, path: bytes) -> tuple[bool, list[Change], dict[bytes, bool]]:
        """Look through one folder; return whether its ignore files are others, what has changed, and its folders.

        With each folder it says whether that is another one than was looked through, or cannot be watched.
        """
        try:
            descriptor = self.folder.open_folder(path)
        except OSError as error:
            return False, self._closed(path, error), {}
        try:
            self._watch(descriptor, path)
            try:
                statuses = dict(_statuses(descriptor))
            except OSError as error:  # it may be listed, and not entered
                return False, self._closed(path, error), {}
            has_new_rules = self._read_rules(descriptor, path, statuses)
            before = self._index.setdefault(path, {})
            changes = self._opened(path)
            prefix = path + b"/" if path else b""
            for name in [name for name in before if name not in statuses]:
                changes += self._forget(prefix + name)
            inner = {}
            for name, status in statuses.items():
                known, old = self._seen(descriptor, prefix + name, name, status), before.get(name)
                if known is None:
                    continue
                if known.entry.kind == FOLDER:
                    inner[prefix + name] = self._is_new(prefix + name, status)
                    if old and old.entry is UNREADABLE:  # until it has been looked through
                        known = old
                if not known.entry.is_same(old.entry if old else None):
                    changes.append((prefix + name, known.entry))
                    changes += self._forget(prefix + name)[1:]
                before[name] = known
            return has_new_rules, changes, inner
        finally:
            os.close(descriptor)

    def _closed(self, path: bytes, error: OSError) -> list[Change]:
        """Take a folder that cannot be looked through, and is there, for ignored: nobody may take it for an empty one.

        Raises the error for the root.
        """
        if error.errno in _GONE:
            return []
        if not path:
            raise error
        was_closed = self.known(path) is UNREADABLE
        inner = self._forget(path)[1:]
        folder, _, name = path.rpartition(b"/")
        self._index.setdefault(folder, {})[name] = Known(UNREADABLE, None)
        return [] if was_closed else [(path, UNREADABLE), *inner]

    def _opened(self, path: bytes) -> list[Change]:
        """Take a folder that could not be looked through for one again."""
        if self.known(path) is not UNREADABLE:
            return []
        folder, _, name = path.rpartition(b"/")
        self._index[folder][name] = Known(Entry(FOLDER), None)
        return [(path, Entry(FOLDER))]

    def _is_new(self, path: bytes, status: os.stat_result) -> bool:
        """Tell whether a folder was not looked through, or is another one since, or its watch has ended with it."""
        is_watched = self.inotify is None or self.inotify.is_watched(path)
        return self._looked.get(path) != (status.st_dev, status.st_ino) or not is_watched

    def _watch(self, descriptor: int, path: bytes) -> None:
        status = os.fstat(descriptor)
        self._looked[path] = status.st_dev, status.st_ino
        if not self.inotify:
            return
        try:
            self.inotify.watch(descriptor, path)
        except OSError:  # fs.inotify.max_user_watches
            self.inotify.close()
            self.inotify = None

    def _seen(self, descriptor: int, path: bytes, name: bytes, status: os.stat_result) -> Known | None:
        if self._rules.ignores(path, stat.S_ISDIR(status.st_mode)):
            return Known(THE_IGNORED, None)
        if self._rules.holds(path, stat.S_ISDIR(status.st_mode)):
            return Known(HELD, None)
        old = self._index[path.rpartition(b"/")[0]].get(name)
        if old and old.signature is not None and old.signature == signature(status):
            return old
        try:
            return seen(descriptor, name, status)
        except FileNotFoundError:  # it is gone, of which there will be word
            return old

    def _read_rules(self, descriptor: int, path: bytes, statuses: Mapping[bytes, os.stat_result]) -> bool:
        contents = [_content(descriptor, name) for name in RULE_FILES if name in statuses]
        content = b"\n".join(contents)
        if content == self._own_rules.get(path, b""):
            return False
        if content:
            self._own_rules[path] = content
        else:
            del self._own_rules[path]
        if path in self._given_rules:
            return False
        self._rules.set(path, content)
        return True

    def _forget(self, path: bytes) -> list[Change]:
        """Drop a path and all below it from the index; return that as changes."""
        folder, _, name = path.rpartition(b"/")
        changes: list[Change] = [(path, None)]
        self._index.get(folder, {}).pop(name, None)
        if self._looked.pop(path, None) and self.inotify:
            self.inotify.forget(path)
        for inner in list(self._index.pop(path, ())):
            changes += self._forget(path + b"/" + inner)
        if self._own_rules.pop(path, None) is not None and path not in self._given_rules:
            self._rules.set(path, b"")
        return changes

    # --- requests

    def put(self, request: Request, incoming: Incoming | None = None) -> Result:
        """Make the entry what is said; `incoming` is the file when it is a large one, and whole."""
        return self._answer(request, partial(self._put, request, incoming))

    def delete(self, request: Request) -> Result:
        """Remove a file or link, or a folder that is empty."""
        return self._answer(request, partial(self._delete, request))

    def aside(self, request: Request) -> Result:
        """Give an entry the name of a conflict copy."""
        return self._answer(request, partial(self._aside, request))

    def _answer(self, request: Request, work: Callable[[os.stat_result | None], Result]) -> Result:
        """Do it if what is there is as expected, also in the moment in which it is done."""
        if self._side == LAPTOP and request.path.rpartition(b"/")[2].lower() in RULE_FILES:
            self._rules.hold()  # the container may not ask for what is ignored here
        try:
            return work(self._as_expected(request))
        except (_UnexpectedError, OSError) as error:
            entry = self.look_again(request.path)
            is_same = entry.is_same(request.expected) if entry else request.expected is None
            if isinstance(error, OSError) and is_same:
                return Result(request.number, FAILED, entry, failure(error))
            return Result(request.number, STALE, entry)

    def _put(self, request: Request, incoming: Incoming | None, before: os.stat_result | None) -> Result:
        entry, path = request.entry, request.path
        if entry is None:
            raise ValueError("a request without an entry")
        if entry.kind == FOLDER and before is None:
            parent, name = self.folder.parent(path)
            os.mkdir(name, dir_fd=parent)
            return self._noted(request, None)
        if before is not None and stat.S_ISDIR(before.st_mode):
            raise _UnexpectedError
        if request.expected and has_same_content(request.expected, entry):
            self._change_mode(path, entry)
            return self._noted(request, None)
        return self._noted(request, self.folder.place(self._written(request, entry, incoming), path, before))

    def _delete(self, request: Request, before: os.stat_result | None) -> Result:
        if before is None:
            raise _UnexpectedError
        if stat.S_ISDIR(before.st_mode):
            self.folder.remove_folder(request.path)
            return self._noted(request, None)
        return self._noted(request, self.folder.take_away(request.path, before))

    def _aside(self, request: Request, before: os.stat_result | None) -> Result:
        if before is None:
            raise _UnexpectedError
        copy = self._keep_aside(request.path, request.path.rpartition(b"/")[2], request.expected)
        return self._noted(request, None)._replace(detail=copy)

    def content(self, path: bytes, expected: Entry) -> bytes | None:
        """Return the content of a small file, None when it is not as expected. Raises OSError."""
        descriptor = self.folder.open_file(path)
        try:
            content = os.read(descriptor, expected.size + 1)
        finally:
            os.close(descriptor)
        return content if digest(content) == expected.content else None

    def look_again(self, path: bytes) -> Entry | None:
        """Look at one path, and return what is there."""
        folder, _, name = path.rpartition(b"/")
        old = self._index.get(folder, {}).get(name)
        if old and old.entry.kind == IGNORED:
            return old.entry
        with suppress(OSError):
            status = self.folder.status(path)
            if status and old and old.signature is not None and old.signature == signature(status):
                return old.entry
            known = self.folder.look(path)
            if known is None:
                self._forget(path)
                return None
            self._index.setdefault(folder, {})[name] = known
            return known.entry
        return old.entry if old else None

    def _as_expected(self, request: Request) -> os.stat_result | None:
        """Return lstat of what is there, None for nothing. Raises OSError, _UnexpectedError when it is another."""
        status = self.folder.status(request.path)  # before it is read: a later change makes it another
        entry = self.look_again(request.path)
        is_same = entry.is_same(request.expected) if entry else request.expected is None
        if not is_same or (entry is None) != (status is None):
            raise _UnexpectedError
        return status

    def _change_mode(self, path: bytes, entry: Entry) -> None:
        descriptor = self.folder.open_file(path)
        try:
            os.fchmod(descriptor, entry.mode)
        finally:
            os.close(descriptor)

    def _written(self, request: Request, entry: Entry, incoming: Incoming | None) -> bytes:
        if incoming:
            return incoming.name
        if entry.kind == LINK:
            return self.folder.link(request.path, entry.content)
        if digest(request.content) != entry.content:
            raise ValueError("content and digest differ")
        return self.folder.write(request.path, request.content, entry.mode)

    def _keep_aside(self, path: bytes, name: bytes, entry: Entry | None) -> bytes:
        """Rename what is beside `path` to the first conflict name that is free; return that."""
        version = entry.content if entry and entry.kind == FILE else digest(path)
        attempt = 0
        while True:
            copy = conflict_name(path, self._side, version, attempt)
            try:
                self.folder.rename(path, name, copy)
            except FileExistsError:
                attempt += 1
                continue
            return copy

    def _noted(self, request: Request, unexpected: bytes | None) -> Result:
        """Bring the index up to date after a change; keep aside what somebody else wrote in that moment."""
        copy = b""
        folder, slash, name = request.path.rpartition(b"/")
        if unexpected:
            try:
                copy = self._keep_aside(request.path, unexpected, None)
            except OSError:  # it keeps the name that it has
                copy = folder + slash + unexpected
        status = self.folder.status(request.path)
        if status is None or request.entry is None:
            self._forget(request.path)
            return Result(request.number, DONE, self.look_again(request.path), copy)
        is_file = request.entry.kind != FOLDER and self.folder.is_placed(status)
        known = Known(request.entry._replace(changed_ns=status.st_mtime_ns), settled(status) if is_file else None)
        self._index.setdefault(folder, {})[name] = known
        return Result(request.number, DONE, known.entry, copy)


def _statuses(descriptor: int) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield what is in an open folder, without git's and our own; remove parts of files that were left long ago.

    Other temporary names may be the only ones of what somebody wrote.
    """
    with os.scandir(descriptor) as children:
        for child in children:
            name = os.fsencode(child.name)
            with suppress(FileNotFoundError):
                if name.startswith(OWN_PREFIX):
                    _clean(descriptor, name, child.stat(follow_symlinks=False))
                elif name.lower() not in ALWAYS:
                    yield name, child.stat(follow_symlinks=False)


def _clean(descriptor: int, name: bytes, status: os.stat_result) -> None:
    if name.endswith(PART_SUFFIX) and time.time() - status.st_mtime > KEPT_S:
        with suppress(OSError):
            os.unlink(name, dir_fd=descriptor)


def _content(descriptor: int, name: bytes) -> bytes:
    """Return the content of an ignore file, empty when it is none that git would read."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    except OSError:
        return b""
    try:
        return os.read(file, _RULES_MAX_BYTES) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)


def has_same_content(one: Entry, other: Entry) -> bool:
    """Tell whether two files differ in nothing but their modes."""
    return one.kind == FILE and one._replace(mode=other.mode).is_same(other)
