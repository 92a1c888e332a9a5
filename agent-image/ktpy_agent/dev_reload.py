"""A program of a dev container that is started again whenever files of its folder change."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from ktpy.wire.sync.entries import CONTAINER, shown
from ktpy.wire.sync.folder import Folder
from ktpy.wire.sync.inotify import open_inotify
from ktpy.wire.sync.replica import Replica
from ktpy.wire.sync.watch import Watch, next_look_s
from ktpy_agent.dev import NOT_EXECUTABLE, NOT_FOUND

QUIET_S: Final = 0.2
"""So long nothing must have changed before the program is started again,"""
LONGEST_S: Final = 2.0
"""but no change waits longer."""
GRACE_S: Final = 5.0
"""How long the program may take to end when it is told to."""
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program until the user ends it; return its exit code, as a shell has it.

    What .gitignore and .ktpyignore name does not count. A program that has ended by itself waits for the next change.
    """
    folder = os.getcwd()  # noqa: PTH109 - Path is not needed
    if folder == "/":
        sys.stderr.write("ktpy: of which folder are changes meant? --work-dir names it.\n")
        return 64  # EX_USAGE of sysexits.h
    replica = Replica(Folder(os.fsencode(folder)), CONTAINER, open_inotify())
    for _ in replica.scan():
        pass
    return _Reloader(words, environment, replica).run()


class _Group:
    """A program with its children, in a process group of its own that has the terminal, if there is one.

    Its first process does nothing but notice that the user has pressed Ctrl-C, which only the group is told.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it. Raises OSError where it cannot be."""
        self.id = _witness()
        self._witness: int | None = self.id
        self._is_interrupted = False
        _give_terminal(self.id)
        try:
            self._program = subprocess.Popen(list(words), env=environment, process_group=self.id)
        except OSError:
            self._forget()
            raise

    def ended(self) -> int | None:
        """Return its exit code, as a shell has it; None while it runs. Its children have ended with it then."""
        if (code := self._program.poll()) is None:
            return None
        self._forget()
        return code if code >= 0 else 128 - code

    def is_interrupted(self) -> bool:
        """Tell whether somebody else than ktpy has sent the group a signal that ends what does not expect it."""
        if self._witness is not None and os.waitpid(self._witness, os.WNOHANG)[0]:
            self._witness, self._is_interrupted = None, True
        return self._is_interrupted

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, number)

    def end(self) -> None:
        """End it, by force after GRACE_S."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.wait(GRACE_S)
        self.signal(signal.SIGKILL)
        self._program.wait()
        self._forget()

    def _forget(self) -> None:
        if self._witness is not None:
            os.kill(self._witness, signal.SIGTERM)  # SIGINT, if it has come, is of the lower number, and so goes first
            _, status = os.waitpid(self._witness, 0)
            self._witness, self._is_interrupted = None, os.WTERMSIG(status) != signal.SIGTERM
        self.signal(signal.SIGKILL)
        _give_terminal(os.getpgrp())


class _Reloader:
    def __init__(self, words: Sequence[str], environment: Mapping[str, str], replica: Replica) -> None:
        self._words, self._environment, self._replica = words, environment, replica
        self._watch = Watch()
        self._group: _Group | None = None
        self._code = 0
        self._is_over = False
        self._look_s = time.monotonic() if replica.inotify is None else float("inf")
        self._first_s = self._last_s = float("inf")

    def run(self) -> int:
        woken, waking = os.pipe()
        for end in (woken, waking):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waking)
        for number in _STOPPING:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._start()
        while not (self._is_over and self._group is None):
            self._wait(woken)
            self._look()
            if self._group is not None:
                self._take_note(self._group)
            if min(self._last_s + QUIET_S, self._first_s + LONGEST_S) <= time.monotonic() and not self._is_over:
                self._start()
        return self._code

    def _take_note(self, group: _Group) -> None:
        code = group.ended()
        self._is_over |= group.is_interrupted()
        if code is not None:
            self._group, self._code = None, code
            if not self._is_over:
                _say(f"it ended with {code}; the next change starts it again, Ctrl-C ends ktpy")

    def _start(self) -> None:
        self._first_s = self._last_s = float("inf")
        if self._group is not None:
            self._group.end()
            self._group = None
        try:
            self._group = _Group(self._words, self._environment)
        except OSError as exc:
            _say(f"{self._words[0]}: {exc.strerror}")
            self._code = NOT_FOUND if isinstance(exc, FileNotFoundError) else NOT_EXECUTABLE
        if self._is_over and self._group is not None:  # a signal came meanwhile
            self._group.signal(signal.SIGTERM)

    def _stop(self, number: int, _frame: object) -> None:
        self._is_over = True
        if self._group is not None:
            self._group.signal(number)

    def _wait(self, woken: int) -> None:
        """Wait for a signal, a change, the end of whoever reads what the program says, or until something is due."""
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        poll.register(1, 0)
        if self._replica.inotify:
            poll.register(self._replica.inotify, select.POLLIN)
        due_s = min(self._watch.due_s, self._look_s, self._last_s + QUIET_S, self._first_s + LONGEST_S)
        wait_ms = None if due_s == float("inf") else max(0, int((due_s - time.monotonic()) * 1000) + 1)
        for descriptor, _ in poll.poll(wait_ms):
            if descriptor == woken:
                os.read(woken, 4096)
            elif descriptor == 1:
                self._is_over, self._code = True, 128 + signal.SIGHUP
                if self._group is not None:
                    self._group.end()
                    self._group = None
            elif self._replica.inotify:
                self._watch.take(self._replica.inotify.read(), time.monotonic())

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._replica.inotify is None and self._look_s <= now_s:
            changed = [path for path, _ in self._replica.scan()]
            self._look_s = next_look_s(now_s, time.monotonic())
        elif self._watch.due_s <= now_s:
            folders, is_all = self._watch.due()
            changed = [path for path, _ in (self._replica.scan() if is_all else self._replica.rescan(folders))]
            if self._replica.inotify is None:  # its watches ran out
                self._look_s = now_s
        else:
            return
        self._replica.folder.release()
        if changed and not self._is_over:
            if self._first_s == float("inf"):
                _say(f"{shown(changed[0])} changed: it is started again")
            self._first_s, self._last_s = min(self._first_s, now_s), now_s


def _witness() -> int:
    """Start a process that leads a group of its own and waits for a signal; return its id."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # else it might take one as this process does
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in (*_STOPPING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while True:
            signal.pause()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with contextlib.suppress(OSError):  # it has done so itself
        os.setpgid(pid, pid)
    return pid


def _give_terminal(group: int) -> None:
    """Let a group have the terminal, whose keys it then gets; it is none of ours that may be stopped for that."""
    if not os.isatty(0):
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, before)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"ktpy: {text}.\r\n".encode() if os.isatty(2) else f"ktpy: {text}.\n".encode())
