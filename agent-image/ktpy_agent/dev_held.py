"""A program of a dev container that outlives the link: a process of its own holds it, which channels are handed to."""

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ktpy.wire import held
from ktpy.wire.dev import Exec
from ktpy.wire.held import Account, Frame
from ktpy_agent.dev_log import ProgramLog

READ_BYTES: Final = held.MAX_FRAME_BYTES
"""As much as a pipe to or from the program takes."""
_F_SETPIPE_SZ: Final = 1031
"""fcntl(2)"""
_TIOCSWINSZ: Final = 0x5414
"""ioctl_tty(2); the module termios is no part of python3-minimal."""
_ENDED: Final = select.POLLHUP | select.POLLERR

Become = Callable[[], int]
"""A Become is run in a process of the program's own, which it becomes; it returns an exit code where that fails."""


def run(asked: Exec, run_dir: Path, become: Become, patience_s: float = held.PATIENCE_S) -> int:
    """Hand this process's channel to whoever holds the program, who is started with it unless it has begun.

    Return 0 once the channel is not needed any more.
    """
    path = run_dir / f"held-{asked.key}"
    with socket.socket(socket.AF_UNIX) as holder:
        try:
            holder.connect(str(path))
        except OSError:
            if asked.is_again:
                os.write(1, Frame(held.GONE).encoded())
                return 0
            _hold(asked, path, become, patience_s)
            holder.connect(str(path))
        with suppress(OSError):  # its time was over
            socket.send_fds(holder, [b"\0"], [0, 1])
            holder.recv(1)
    return 0


def _hold(asked: Exec, path: Path, become: Become, patience_s: float) -> None:
    """Start the program and its holder, unless another channel was quicker."""
    own = path.with_name(f"{path.name}-{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(own))
    listener.listen()
    try:
        os.link(own, path)
    except FileExistsError:
        return
    finally:
        own.unlink()
    if os.fork():
        listener.close()
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # sshd waits for the end of what the channel's own processes write
            os.dup2(null, descriptor)
        log = ProgramLog(path.parent, asked.words) if asked.is_logged and asked.words else None
        Holder(listener, asked, become, patience_s, log).serve()
    finally:
        path.unlink(missing_ok=True)
        os._exit(0)


class Holder:
    """A Holder has a program on pipes, or a terminal, and gives it to one channel at a time."""

    def __init__(
        self, listener: socket.socket, asked: Exec, become: Become, patience_s: float, log: ProgramLog | None
    ) -> None:
        self._listener, self._patience_s, self._log = listener, patience_s, log
        self._account = Account()
        self._outputs: dict[int, int] = {}
        """What the program writes to, with the kinds of frames."""
        self._terminal: int | None = None
        self._input: int | None = None
        self._pid = self._start_on_terminal(asked, become) if asked.terminal else self._start_on_pipes(become)
        self._ends = os.pidfd_open(self._pid)
        self._code: int | None = None
        self._has_told_end = self._is_input_over = self._is_over = False
        self._to_program, self._to_channel = bytearray(), bytearray()
        self._session: socket.socket | None = None
        self._channel: tuple[int, int] | None = None
        """What to read from and to write to."""
        self._deadline_s = time.monotonic() + patience_s

    def serve(self) -> None:
        """Serve until the laptop wants no more, or does not come back; a program that runs then gets SIGHUP."""
        try:
            while not self._is_over and (self._channel or time.monotonic() < self._deadline_s):
                self._turn()
        finally:
            self._signal(signal.SIGHUP, signal.SIGCONT)  # also what is stopped, as the kernel does by a terminal

    # --- the program

    def _start_on_terminal(self, asked: Exec, become: Become) -> int:
        self._terminal, secondary = os.openpty()
        self._input, self._outputs = self._terminal, {self._terminal: held.OUTPUT}
        self._resize(asked.size)
        pid = _fork(lambda: os.login_tty(secondary), become)
        os.close(secondary)
        os.set_blocking(self._terminal, False)
        return pid

    def _start_on_pipes(self, become: Become) -> int:
        theirs, self._input = os.pipe()
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        self._outputs = {out: held.OUTPUT, err: held.ERRORS}
        with suppress(OSError):  # a user has so much of them, and does with less
            fcntl.fcntl(out, _F_SETPIPE_SZ, READ_BYTES)

        def enter() -> None:
            os.setsid()
            for number, descriptor in enumerate((theirs, their_out, their_err)):
                os.dup2(descriptor, number)

        pid = _fork(enter, become)
        for descriptor in (theirs, their_out, their_err):
            os.close(descriptor)
        for descriptor in (self._input, out, err):
            os.set_blocking(descriptor, False)
        return pid

    def _resize(self, size: tuple[int, int]) -> None:
        columns, lines = size
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, _TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _signal(self, *numbers: int) -> None:
        for number in numbers if self._code is None else ():
            with suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            if self._code is None or self._terminal is None:
                return
            data = b""  # whoever has the terminal still is in the background
        except OSError:
            data = b""
        if data:
            self._to_channel += self._account.say(self._outputs[descriptor], data)
            if self._log is not None:
                self._log.write(data)
            if self._channel is None and self._terminal is not None:
                self._account.forget_oldest()
            return
        del self._outputs[descriptor]
        if descriptor != self._terminal:
            os.close(descriptor)

    def _feed(self, descriptor: int) -> None:
        try:
            del self._to_program[: os.write(descriptor, self._to_program[:READ_BYTES])]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._close_input()
        self._account.waiting_bytes = len(self._to_program)
        if self._is_input_over and not self._to_program:
            self._close_input()

    def _close_input(self) -> None:
        descriptor, self._input = self._input, None
        self._to_program.clear()
        self._account.waiting_bytes = 0
        if descriptor is not None and self._terminal is None:
            os.close(descriptor)

    def _note_end(self) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._code = code if code >= 0 else 128 - code

    # --- the laptop

    def _accept(self) -> None:
        """Take another channel in place of what there was."""
        session, _ = self._listener.accept()
        session.settimeout(1)
        try:
            _, descriptors, _, _ = socket.recv_fds(session, 1, 2)
            source, sink = descriptors
        except (OSError, ValueError):
            session.close()
            return
        self._let_go()
        self._session, self._channel = session, (source, sink)
        for descriptor in self._channel:
            os.set_blocking(descriptor, False)
        self._to_channel += self._account.begin()

    def _let_go(self) -> None:
        if self._channel is None or self._session is None:
            return
        for descriptor in self._channel:
            os.close(descriptor)
        self._session.close()
        self._session = self._channel = None
        self._account.is_resumed = False
        self._to_channel.clear()
        self._deadline_s = time.monotonic() + self._patience_s

    def _hear(self, source: int) -> bool:
        """Take what the laptop says; return False where there is no more at present."""
        try:
            data = os.read(source, READ_BYTES)
            for kind, content in self._account.hear(data):
                self._take(kind, content)
        except BlockingIOError:
            return False
        except (OSError, ValueError):  # no laptop of ours says so
            data = b""
        if not data:
            self._let_go()
        return bool(data)

    def _take(self, kind: int, content: bytes) -> None:
        match kind:
            case held.RESUME:
                self._to_channel += self._account.rest()
            case held.INPUT if content and self._input is not None:
                self._to_program += content
                self._account.waiting_bytes = len(self._to_program)
            case held.INPUT if not content:
                self._is_input_over = True
                if not self._to_program:
                    self._close_input()
            case held.SIZE:
                self._resize(held.parse_size(content))
                self._signal(signal.SIGWINCH)  # who looks again wants to see all of it, also in the same size
            case held.INTERRUPT:
                self._signal(signal.SIGINT)
            case held.HANG_UP:
                self._is_over = True

    def _say(self, sink: int) -> None:
        with suppress(BlockingIOError):
            with memoryview(self._to_channel) as waiting:
                count = os.write(sink, waiting[:READ_BYTES])
            del self._to_channel[:count]

    # --- both

    def _turn(self) -> None:
        is_wanted = not self._account.is_full or (self._terminal is not None and self._channel is None)
        is_left = self._code is not None and self._terminal in self._outputs  # there is no end of it to be waited for
        ready = self._wait(is_wanted=is_wanted, is_left=is_left)
        if self._ends in ready and self._code is None:
            self._note_end()
        for descriptor in list(self._outputs) if is_wanted else ():
            if ready.get(descriptor, 0) & ~select.POLLOUT or is_left:
                self._read(descriptor)
        if self._input is not None and self._to_program and self._input in ready:
            self._feed(self._input)
        if self._code is not None and not self._outputs and not self._has_told_end:
            self._has_told_end = True
            self._to_channel += self._account.say(held.EXIT, bytes([self._code]))
            if self._log is not None:
                self._log.end(self._code)
        if self._channel is not None:
            self._serve_channel(*self._channel, ready)
        if self._listener.fileno() in ready:
            self._accept()

    def _serve_channel(self, source: int, sink: int, ready: dict[int, int]) -> None:
        if source in ready:
            self._hear(source)
        elif ready.get(sink, 0) & _ENDED:  # what it has said before still counts
            while self._hear(source):
                pass
            self._let_go()
        if self._channel is None:
            return
        self._to_channel += self._account.acknowledgement()
        if self._to_channel:
            try:
                self._say(sink)
            except OSError:
                self._let_go()

    def _wait(self, *, is_wanted: bool, is_left: bool) -> dict[int, int]:
        """Wait until something can be done; return the descriptors with their events (poll(2))."""
        wanted = {self._listener.fileno(): select.POLLIN}
        if self._code is None:
            wanted[self._ends] = select.POLLIN
        for descriptor in self._outputs if is_wanted else ():
            wanted[descriptor] = select.POLLIN
        if self._to_program and self._input is not None:
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        wait_ms: float | None = None
        if self._channel is not None:
            source, sink = self._channel
            wanted[source] = select.POLLIN
            wanted[sink] = select.POLLOUT if self._to_channel else 0
        else:
            wait_ms = max(0.0, self._deadline_s - time.monotonic()) * 1000 + 1
        if is_left and is_wanted:
            wait_ms = 0
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        return dict(poll.poll(wait_ms))


def _fork(enter: Callable[[], None], become: Become) -> int:
    """Start a process that enters its session and becomes the program; return its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        enter()
        code = become()
        sys.stderr.flush()
    finally:
        os._exit(code)
