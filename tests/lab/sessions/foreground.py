"""A command of ktpy's in the foreground of a terminal on the laptop, and what it has printed so far."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from tests.lab import Lab

READY_TIMEOUT_S = 120.0
END_TIMEOUT_S = 60.0


class Foreground:
    """The process (sudo's, when sudo was typed) and its output."""

    def __init__(
        self,
        lab: Lab,
        command: Sequence[str],
        *,
        user: str = "dev",
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._lab = lab
        self._user = user
        self._changed = threading.Condition()
        self._ended = False
        self.output = ""
        self.process = lab.popen(command, user=user, env=env, stdin=stdin)
        self._reader = threading.Thread(target=self._read, name=f"output of {' '.join(command[:3])}")
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until it has printed `text`; AssertionError with all it printed when it ends or is late."""
        self.wait_until(lambda output: text in output, repr(text), timeout_s)

    def wait_until(self, is_so: Callable[[str], bool], what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until what it has printed is so; AssertionError as `wait_for`."""
        with self._changed:
            self._changed.wait_for(lambda: is_so(self.output) or self._ended, timeout_s)
            assert is_so(self.output), f"no {what} in {timeout_s:g} s; it printed:\n{self.output}"

    def wait_ended(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Its exit code. Everything it printed is in `output` by then; AssertionError as `wait_for`."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end in {timeout_s:g} s; it printed:\n{self.output}") from None
        self._reader.join(timeout_s)
        return code

    def kill(self) -> None:
        """SIGKILL to it and its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait_ended()

    def end(self) -> None:
        """It has been asked to end: wait, then make it."""
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(END_TIMEOUT_S)
