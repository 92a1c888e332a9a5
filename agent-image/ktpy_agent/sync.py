"""What runs for `ktpy-agent sync FOLDER`: the container's side of a synchronized folder. The laptop's side decides.

It tells what is in the folder and what changes there, and does what it is asked in that order. It ends with its
channel; what was cut goes on with the next.
"""

import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ktpy.wire.sync import frames
from ktpy.wire.sync.blocks import Incoming, failure, outgoing
from ktpy.wire.sync.entries import ABSENT, CONTAINER, Entry
from ktpy.wire.sync.folder import Folder
from ktpy.wire.sync.frames import FrameParser, Request, Result
from ktpy.wire.sync.ignore import OWN_PREFIX
from ktpy.wire.sync.inotify import open_inotify
from ktpy.wire.sync.replica import Change, Replica
from ktpy.wire.sync.watch import Watch, next_look_s

_READ_BYTES: Final = 1 << 18
_FLUSH_BYTES: Final = 1 << 17
_MARK: Final = OWN_PREFIX + b"id"


def run(directory: str) -> int:
    """Serve a folder, which is made if it is not there, until the channel ends. Returns the exit status."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        sys.stderr.write(f"ktpy-agent: {directory}: {exc.strerror}\n")
        return 73  # EX_CANTCREAT of sysexits.h
    return serve(directory)


def serve(directory: str, *, sees_changes: bool = True, leaves_mark: bool = True) -> int:
    """Serve a folder as `run` does. `sees_changes`: inotify tells of every change of it; else it is looked through.

    `leaves_mark`: a file in it may tell it from others, see `Session`.
    """
    try:
        folder = Folder(os.fsencode(directory))
    except OSError as exc:
        sys.stderr.write(f"ktpy-agent: {directory}: {exc.strerror}\n")
        return 73  # EX_CANTCREAT of sysexits.h
    try:
        replica = Replica(folder, CONTAINER, open_inotify() if sees_changes else None)
        Session(replica, 0, 1, leaves_mark=leaves_mark).serve()
    except BrokenPipeError:
        pass
    except ValueError as exc:
        sys.stderr.write(f"ktpy-agent: what the laptop says is not understood: {exc}\n")
        return 76  # EX_PROTOCOL
    except OSError as exc:
        sys.stderr.write(f"ktpy-agent: {directory}: {exc.strerror}\n")
        return 74  # EX_IOERR
    return 0


class Session:
    """A Session serves one channel."""

    def __init__(self, replica: Replica, reader: int, writer: int, *, leaves_mark: bool = True) -> None:
        self._replica = replica
        self._leaves_mark = leaves_mark
        self._reader, self._writer = reader, writer
        self._parser = FrameParser()
        self._watch = Watch()
        self._look_s = float("inf")
        """When to look through all without inotify."""
        self._incoming: dict[int, tuple[Request, Incoming]] = {}
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def serve(self) -> None:
        """Serve until the laptop's stream ends. Raises BrokenPipeError, ValueError for what no laptop says."""
        while True:
            is_readable = self._wait()
            if is_readable:
                data = os.read(self._reader, _READ_BYTES)
                if not data:
                    return
                for kind, payload in self._parser.feed(data):
                    self._take(kind, payload)
            self._look_if_due()
            self._replica.folder.release()
            self._flush()

    def _wait(self) -> bool:
        """Wait for the laptop, or until it is time to look; tell whether the laptop has said something."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        if self._replica.inotify:
            poll.register(self._replica.inotify, select.POLLIN)
        due_s = min(self._watch.due_s, self._look_s)
        wait_ms = None if due_s == float("inf") else max(0, int((due_s - time.monotonic()) * 1000) + 1)
        ready = [descriptor for descriptor, _ in poll.poll(wait_ms)]
        if self._replica.inotify and self._replica.inotify.fileno() in ready:
            self._watch.take(self._replica.inotify.read(), time.monotonic())
        return self._reader in ready

    def _look_if_due(self) -> None:
        now_s = time.monotonic()
        if self._look_s <= now_s:
            self._look_through()
        elif self._watch.due_s <= now_s:
            folders, is_all = self._watch.due()
            if is_all or not self._replica.inotify:
                self._look_through()
            else:
                self._tell(self._replica.rescan(folders))
                if not self._replica.inotify:  # its watches ran out: anything may change unseen
                    self._look_s = now_s

    def _look_through(self) -> None:
        began_s = time.monotonic()
        self._tell(self._replica.scan())
        self._look_s = float("inf") if self._replica.inotify else next_look_s(began_s, time.monotonic())

    def _tell(self, changes: Iterator[Change]) -> None:
        has_changed = False
        for path, entry in changes:
            has_changed = True
            self._send(frames.frame(frames.ENTRY, (entry or ABSENT).encoded(path)))
        if has_changed:
            self._send(frames.frame(frames.TOLD))

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == frames.HELLO:
            self._greet(frames.heard(payload))
        elif kind == frames.RULES:
            self._replica.give_rules(_rules(frames.heard(payload)))
            self._look_through()
        elif kind == frames.PUT:
            self._send(self._replica.put(Request.parse(payload)).frame())
        elif kind == frames.DELETE:
            self._send(self._replica.delete(Request.parse(payload)).frame())
        elif kind == frames.ASIDE:
            self._send(self._replica.aside(Request.parse(payload)).frame())
        elif kind == frames.OFFER:
            self._begin(Request.parse(payload))
        elif kind == frames.BLOCK:
            self._add(*frames.block_of(payload))
        elif kind == frames.END:
            self._end(frames.number_of(payload))
        elif kind == frames.GET:
            self._hand_over(Request.parse(payload))
        else:
            raise ValueError(f"there is no frame of kind {kind}")

    def _greet(self, said: dict[str, Any]) -> None:
        root = self._mark()
        folds_case = self._replica.folds_case()
        self._send(
            frames.said(frames.HELLO, version=frames.VERSION, time_ns=time.time_ns(), root=root, folds_case=folds_case)
        )
        self._replica.give_rules(_rules(said))
        self._flush()
        self._look_through()
        self._send(frames.frame(frames.TOLD))

    def _mark(self) -> str:
        """Return what tells this folder from another one at the same path, such as that of another pod."""
        root = self._replica.folder.root
        try:
            if not self._leaves_mark:
                raise PermissionError
            mark = os.open(_MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644, dir_fd=root)
            try:
                content = os.read(mark, 64)
                if not content:
                    content = os.urandom(16).hex().encode()
                    os.write(mark, content)
                return content.decode(errors="replace")
            finally:
                os.close(mark)
        except OSError:  # a folder that nobody may write, or a full disk
            status = os.fstat(root)
            return f"{status.st_dev}:{status.st_ino}"

    # --- files

    def _begin(self, request: Request) -> None:
        if request.entry is None:
            raise ValueError("an offer of nothing")
        try:
            incoming = Incoming(self._replica.folder, request.path, request.entry)
        except OSError as error:
            self._fail(request, error)
            return
        self._incoming[request.number] = request, incoming
        self._send(frames.numbered(frames.HAVE, request.number, incoming.have))

    def _add(self, number: int, index: int, data: memoryview) -> None:
        if number not in self._incoming:  # it has failed
            return
        request, incoming = self._incoming[number]
        try:
            incoming.add(index, data)
        except OSError as error:
            incoming.close()
            del self._incoming[number]
            self._fail(request, error)

    def _end(self, number: int) -> None:
        request, incoming = self._incoming.pop(number, (None, None))
        if request is None or incoming is None:
            return
        try:
            if incoming.finish():
                self._send(self._replica.put(request, incoming).frame())
                return
            self._replica.folder.discard(request.path, incoming.name)
        except OSError as error:
            self._fail(request, error)
            return
        finally:
            incoming.close()
        self._stale(request)

    def _stale(self, request: Request) -> None:
        self._send(Result(request.number, frames.STALE, self._replica.look_again(request.path)).frame())

    def _fail(self, request: Request, error: OSError) -> None:
        entry = self._replica.look_again(request.path)
        self._send(Result(request.number, frames.FAILED, entry, failure(error)).frame())

    def _hand_over(self, request: Request) -> None:
        try:
            if request.expected is None:
                raise ValueError("nothing is asked for")
            if request.expected.size <= frames.SMALL_BYTES:
                content = self._replica.content(request.path, request.expected)
                if content is not None:
                    answer = Request(request.number, request.path, None, request.expected, content)
                    self._send(answer.frame(frames.PUT))
                    return
            else:
                self._send_blocks(request, request.expected)
                return
        except OSError as error:
            self._fail(request, error)
            return
        self._stale(request)

    def _send_blocks(self, request: Request, expected: Entry) -> None:
        descriptor = self._replica.folder.open_file(request.path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._stale(request)
                return
            for index, data in outgoing(descriptor, expected.size, request.content):
                self._send(frames.block_head(request.number, index, len(data)))
                self._send(data)
        finally:
            os.close(descriptor)
        if expected.is_same(self._replica.look_again(request.path)):
            self._send(frames.numbered(frames.END, request.number))
        else:
            self._stale(request)

    def _send(self, data: bytes) -> None:
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        data, self._unsent, self._unsent_bytes = memoryview(b"".join(self._unsent)), [], 0
        while data:
            data = data[os.write(self._writer, data) :]


def _rules(said: dict[str, Any]) -> dict[bytes, bytes]:
    """Return the ignore files of the laptop's side, by folder; raises ValueError."""
    rules = said.get("rules", {})
    if not isinstance(rules, dict):
        raise ValueError("these are no rules")  # noqa: TRY004 - who reads frames catches ValueError
    return {os.fsencode(folder): os.fsencode(content) for folder, content in rules.items()}
