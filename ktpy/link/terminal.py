"""A program in a pod on this terminal: what is typed goes there, with every resize, and its exit code comes back."""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext, suppress

from ktpy.aio.task_group import task_group
from ktpy.errors import KtpyError
from ktpy.link.session import link_lost
from ktpy.link.ssh_library import asyncssh

_READ_BYTES = 1 << 18
_Process = asyncssh.SSHClientProcess[bytes]


class RemoteProgram:
    """A RemoteProgram has this process's standard input, output and error.

    It has a terminal where both ends of ours are one; then every key goes to it, Ctrl-C too.
    """

    def __init__(self, command: str, interruption: str = "") -> None:
        """sshd is asked to run `command`, and `interruption` beside it to have SIGINT sent to that."""
        self._command, self._interruption = command, interruption
        self._ssh: asyncssh.SSHClientConnection | None = None
        """It is there while the program runs."""
        self._interrupting: asyncio.Task[None] | None = None

    def interrupt(self) -> bool:
        """Have SIGINT sent to it; False while it does not run."""
        if self._ssh is None:
            return False
        self._interrupting = asyncio.get_running_loop().create_task(self._interrupt(self._ssh), name="interrupt")
        return True

    async def _interrupt(self, ssh: asyncssh.SSHClientConnection) -> None:
        with suppress(asyncssh.Error, OSError):  # it has ended, or the link has
            await ssh.run(self._interruption, stdin=asyncssh.DEVNULL)

    async def run(self, ssh: asyncssh.SSHClientConnection) -> int:
        """Run it; return its exit code, as a shell has it; 1 where nobody reads what it says any more, which ends it.

        Raises LinkLost when the connection ends first, KtpyError where its output cannot be written for another reason.
        """
        kind = terminal_kind()
        size = os.get_terminal_size(0) if kind else ()  # LINES and COLUMNS may tell of another terminal
        try:
            process = await ssh.create_process(self._command, term_type=kind or None, term_size=size, encoding=None)
        except (asyncssh.Error, OSError) as exc:
            raise link_lost(exc) from exc
        self._ssh = ssh
        try:
            return await _ended(process, is_terminal=bool(kind))
        finally:
            self._ssh = None


async def _ended(process: _Process, *, is_terminal: bool) -> int:
    """Pass on what is typed and shown until it ends; return and raise what `run` does."""

    async def send(data: bytes) -> None:
        process.stdin.write(data) if data else process.stdin.write_eof()
        await process.stdin.drain()

    def resize() -> None:
        process.change_terminal_size(*os.get_terminal_size(0))

    with typed_to(send), as_terminal(resize) if is_terminal else nullcontext():
        try:
            async with task_group() as showing:
                showing.create_task(_show(process.stdout, sys.stdout.fileno()))
                showing.create_task(_show(process.stderr, sys.stderr.fileno()))
        except OSError as exc:
            process.close()
            return enough(exc)
        await process.wait_closed()
    if process.exit_signal is not None:
        return 128 + int(getattr(signal, f"SIG{process.exit_signal[0]}", signal.SIGTERM))
    if process.exit_status is None:
        raise link_lost(ConnectionError("the program's end was not told"))
    return process.exit_status


def terminal_kind() -> str:
    """Return TERM where both ends of ours are a terminal, else nothing."""
    return os.environ.get("TERM", "xterm") if sys.stdin.isatty() and sys.stdout.isatty() else ""


def enough(exc: OSError) -> int:
    """Return the exit code of who has read enough, as `| head`, which is no error; it is click's.

    Raises KtpyError where what the program says could not be written for another reason.
    """
    if isinstance(exc, BrokenPipeError):
        return 1
    raise KtpyError(f"The output cannot be written ({exc.strerror}); the program was ended.") from exc


async def _show(reader: "asyncssh.SSHReader[bytes]", descriptor: int) -> None:
    """Write what comes; raises OSError where that fails. A terminal that does not take it holds up nobody else."""
    while data := await next_of(reader):
        await asyncio.to_thread(write_whole, descriptor, data)


async def next_of(reader: "asyncssh.SSHReader[bytes]") -> bytes:
    """Return what comes; nothing at the end."""
    try:
        return await reader.read(_READ_BYTES)
    except (asyncssh.Error, OSError):
        return b""  # the connection is lost: the exit code is missing then


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it, whoever has made the descriptor non-blocking. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # who shares the terminal or pipe made it so
            select.select([], [descriptor], [])


@contextmanager
def typed_to(send: Callable[[bytes], Awaitable[None]]) -> Iterator[None]:
    """Send what is read from standard input, as fast as `send` takes it; nothing is its end.

    A thread reads, whatever standard input is; nobody waits for it at the end.
    """
    loop, is_over = asyncio.get_running_loop(), threading.Event()

    async def pass_on(data: bytes) -> None:
        try:
            await send(data)
        except (asyncssh.Error, OSError):  # it has ended, or reads no more
            is_over.set()

    def read() -> None:
        data = b"x"
        while data and not is_over.is_set():
            try:
                data = os.read(0, _READ_BYTES)
            except OSError:
                data = b""
            sending = pass_on(data)
            try:
                asyncio.run_coroutine_threadsafe(sending, loop).result()
            except (RuntimeError, CancelledError):  # the loop is closed
                sending.close()
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


@contextmanager
def as_terminal(resize: Callable[[], None]) -> Iterator[None]:
    """Let every key go to the program, and call `resize` at each. What ktpy itself tells begins at the left edge."""
    import termios  # not every system has them
    import tty

    loop, before = asyncio.get_running_loop(), termios.tcgetattr(0)
    loop.add_signal_handler(signal.SIGWINCH, resize)
    try:
        tty.setraw(0)
        mode = termios.tcgetattr(0)
        mode[1] = before[1]
        termios.tcsetattr(0, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        loop.remove_signal_handler(signal.SIGWINCH)
