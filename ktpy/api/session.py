"""A session of a program, in a process of the command of its name: what begins it, hears it, and ends it.

A thread hears it, and the session goes on whatever the program does: its event loop may block, or not run at all, as
between the setup of a test's fixture and its end. Where the program ends in any way, the session does.
"""

import asyncio
import logging
import os
import socket
import subprocess
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from ktpy.aio.uninterrupted import uninterrupted
from ktpy.daemon.parent import VARIABLE
from ktpy.daemon.runtime import CONNECT
from ktpy.daemon.session_command import SessionCommand
from ktpy.errors import KtpyError, SessionEnded, of_code
from ktpy.observe.events import Ended, LinkDown, Ready
from ktpy.observe.status import ConnectStatus, InterceptStatus, SessionStatus

logger = logging.getLogger("ktpy")

Status = TypeVar("Status", ConnectStatus, InterceptStatus)


class SessionProcess(SessionCommand):
    """A SessionProcess ends with this one; the logger `ktpy` has what it tells."""

    def __init__(self, verb: str, *words: str, **streams: Any) -> None:
        """`streams` are those of subprocess.Popen; without them it has neither input nor output."""
        self._is_asked = False
        self.stands: Future[SessionStatus | None] = Future()
        """The session's status once it stands; None where it has ended without."""
        self.ended: Future[Ended] = Future()
        for one in (self.stands, self.ended):
            one.set_running_or_notify_cancel()  # who waits may be cancelled, not what is waited for
        self._channel, theirs = socket.socketpair()
        with theirs:
            super().__init__(
                verb,
                "--output=json",
                *words,
                told=self._channel.makefile(errors="replace"),
                environment={VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for the program, which may go on; but sudo needs the terminal.
                start_new_session=verb != CONNECT or os.geteuid() == 0,
                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams},
            )
        threading.Thread(target=self._listen, name=f"ktpy {verb}", daemon=True).start()

    def end(self) -> None:
        """Ask it to end. `ended` tells when it has."""
        self._is_asked = not self.ended.done()
        with suppress(OSError):  # it has ended
            self._channel.shutdown(socket.SHUT_WR)

    async def wait_ended(self) -> None:
        """End it, and wait until all of it is undone."""
        self.end()
        await asyncio.wrap_future(self.ended)

    def failure(self) -> KtpyError | None:
        """Return why it has ended, where nobody asked it to, and what could not be undone."""
        ended = self.ended.result()
        if ended.is_error:
            return of_code(ended.exit_code, ended.message, ended.hint)
        return None if self._is_asked else SessionEnded(ended.message, hint=ended.hint)

    def _listen(self) -> None:
        told: Ended | None = None
        with self._channel:
            for event in self.events():
                if isinstance(event, Ended):
                    told = event
                elif isinstance(event, Ready) and not self.stands.done():
                    self.stands.set_result(event.status)
                logger.log(logging.WARNING if isinstance(event, LinkDown) else logging.INFO, "%s", event)
        self.ended.set_result(self.wait(told))
        if not self.stands.done():
            self.stands.set_result(None)


class Session(Generic[Status]):
    """A Session stands while its block runs: that of `async with`, or of `with` where there is no event loop.

    To begin it raises the KtpyError that the command ends with, and so does the end of the block where something could
    not be undone. Where the session ends before its block, that is cancelled, and raises the KtpyError that has ended
    the session, or SessionEnded; a block that awaits nothing raises it at its end.
    """

    def __init__(self, verb: str, *words: str) -> None:
        self._words = (verb, *words)
        self._process: SessionProcess | None = None
        self._status: Status | None = None
        self._block: asyncio.Task[Any] | None = None
        self._is_cut = False
        """Whether the block was cancelled because the session has ended."""

    @property
    def status(self) -> Status:
        """What `ktpy status --output json` shows of it, as it was when the session stood."""
        if self._status is None:
            raise RuntimeError("The session stands only within the block of `async with`, or of `with`.")
        return self._status

    async def __aenter__(self) -> Self:
        process = self._begin()
        try:
            self._stand(process, await asyncio.wrap_future(process.stands))
        except BaseException:
            self._process = None
            await uninterrupted(process.wait_ended)
            raise
        self._block, loop = asyncio.current_task(), asyncio.get_running_loop()

        def cut(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._cut, process)

        process.ended.add_done_callback(cut)
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        if (process := self._leave()) is None:
            return
        late: asyncio.CancelledError | None = None
        try:
            await uninterrupted(process.wait_ended)
        except asyncio.CancelledError as cancelled:
            error = late = cancelled
        if self._is_cut and self._block and not self._block.uncancel() and isinstance(error, asyncio.CancelledError):
            error = late = None  # nobody else has cancelled the block
        self._is_cut = False
        _raise(process.failure(), error)
        if late is not None:
            raise late

    def __enter__(self) -> Self:
        process = self._begin()
        try:
            self._stand(process, process.stands.result())
        except BaseException:
            self._process = None
            process.end()
            process.ended.result()
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        if (process := self._leave()) is not None:
            process.end()
            process.ended.result()
            _raise(process.failure(), error)

    def _begin(self) -> SessionProcess:
        if self._process is not None:
            raise RuntimeError("This session has begun already.")
        self._process = process = SessionProcess(*self._words)
        return process

    def _stand(self, process: SessionProcess, status: SessionStatus | None) -> None:
        """Take the status. Raises KtpyError where the session has ended without one."""
        if status is None:
            _raise(process.failure(), None)
            return
        self._status = cast(Status, status)
        if status.pid != process.popen.pid:  # the user is connected already, which this leaves as it is
            self._process = None

    def _leave(self) -> SessionProcess | None:
        """Return the process that is to end; from now on its end cancels nothing."""
        process, self._process = self._process, None
        return process

    def _cut(self, process: SessionProcess) -> None:
        if process is self._process and self._block is not None:
            self._is_cut = self._block.cancel()


def _raise(failure: KtpyError | None, error: BaseException | None) -> None:
    """Raise the failure; where the block has failed itself, note it there."""
    if failure is not None and error is None:
        raise failure
    if failure is not None and error is not None:
        error.add_note(f"ktpy: {failure.message}")
