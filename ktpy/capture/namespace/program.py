"""The program in its network: started there, and stopped, continued and ended together with ktpy, as its shell expects.

It is in ktpy's process group. So the terminal's Ctrl-C, Ctrl-Z and SIGWINCH reach it directly, and a shell that makes
groups of its own does so as ever. ktpy stops when it stops, which tells the user's shell.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import ktpy.helper.private

ENTER: Final = Path(ktpy.helper.private.__file__).with_name("enter.py")
GRACE_S: Final = 5.0
"""How long the program may take to end after each signal when ktpy ends."""


class Program:
    """A Program runs once, in namespaces that are entered in the order in which they are given."""

    def __init__(self, words: Sequence[str], namespaces: Sequence[int], files_limit: int) -> None:
        """`files_limit` is the soft limit of open files that it gets."""
        self._words, self._namespaces, self._files_limit = words, namespaces, files_limit
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self, environment: Mapping[str, str]) -> int:
        """Run it on ktpy's terminal; return its exit code, 128+N when signal N ended it. Cancelled, it ends it."""
        ended = self._start(environment)
        try:
            code = await asyncio.shield(ended)
        except asyncio.CancelledError:
            await self._end(ended)
            raise
        finally:
            self._process = None
        return code if code >= 0 else 128 - code

    def _start(self, environment: Mapping[str, str]) -> "asyncio.Future[int]":
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        spaces = ",".join(map(str, self._namespaces))
        enter = [sys.executable, "-I", "-S", str(ENTER), str(os.getpid()), str(self._files_limit), spaces]
        process = subprocess.Popen([*enter, *self._words], env=environment, pass_fds=self._namespaces)
        self._process = process

        def report(status: int) -> None:
            if os.WIFSTOPPED(status):
                self._stop()
            elif not ended.done():
                process.returncode = os.waitstatus_to_exitcode(status)  # nothing is left for Popen to wait for
                ended.set_result(process.returncode)

        def wait() -> None:
            while True:
                _, status = os.waitpid(process.pid, os.WUNTRACED)
                with suppress(RuntimeError):  # the loop is closed: nobody wants to know
                    loop.call_soon_threadsafe(report, status)
                if not os.WIFSTOPPED(status):
                    return

        threading.Thread(target=wait, name="wait for the program", daemon=True).start()
        return ended

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def pass_on(self, number: int) -> None:
        """Send the program a signal that was sent to ktpy alone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _stop(self) -> None:
        """Stop as the program did; once somebody continues ktpy, continue it, with the terminal if it had that."""
        if self._process is None:
            return
        pid, terminal = self._process.pid, _terminal()
        with suppress(OSError):
            group = os.getpgid(pid)
            had_terminal = terminal is not None and os.tcgetpgrp(terminal) == group
            os.kill(os.getpid(), signal.SIGSTOP)
            if terminal is not None and had_terminal and os.tcgetpgrp(terminal) == os.getpgrp() != group:
                before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                os.tcsetpgrp(terminal, group)
                signal.signal(signal.SIGTTOU, before)
            os.killpg(group, signal.SIGCONT)

    async def _end(self, ended: "asyncio.Future[int]") -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.pass_on(number)
            self.pass_on(signal.SIGCONT)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await asyncio.shield(ended)
                    return


def is_typed(number: int) -> bool:
    """Tell whether a signal came from the keyboard, and so to the program as well: ktpy is in the foreground."""
    terminal = _terminal()
    with suppress(OSError):
        return number in (signal.SIGINT, signal.SIGQUIT) and terminal is not None and _is_foreground(terminal)
    return False


def _is_foreground(terminal: int) -> bool:
    return os.tcgetpgrp(terminal) == os.getpgrp()


@cache
def _terminal() -> int | None:
    """Return a descriptor of the terminal that ktpy was started from, wherever its streams lead."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
