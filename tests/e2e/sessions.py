"""`ktpy connect` in the foreground of a terminal on the laptop, as user dev types it."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tests.lab import Lab

USER = "dev"
READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0


class ConnectSession:
    """The process (sudo's, when sudo was typed), what it has printed, and the other commands of its user."""

    def __init__(
        self, lab: Lab, *options: str, sudo: bool = True, user: str = USER, env: Mapping[str, str] | None = None
    ) -> None:
        command = [*(["sudo"] if sudo else []), "ktpy", "connect", *options]
        self._lab = lab
        self._changed = threading.Condition()
        self._ended = False
        self.output = ""
        self._user = user
        self.process = lab.popen(command, user=user, env=env)
        self._reader = threading.Thread(target=self._read, name="output of ktpy connect")
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
        with self._changed:
            self._changed.wait_for(lambda: text in self.output or self._ended, timeout_s)
            assert text in self.output, f"no {text!r} in {timeout_s:g} s; it printed:\n{self.output}"

    def wait_ready(self) -> None:
        self.wait_for("\nconnected to ")

    def wait_ended(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Its exit code. Everything it printed is in `output` by then."""
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def status(self) -> dict[str, Any]:
        """`ktpy status` of the user's one session, from another terminal."""
        done = self._lab.exec(["ktpy", "status", "--output", "json"], user=self._user, check=True)
        [session] = json.loads(done.stdout)["sessions"]
        return dict(session)

    def quit(self) -> None:
        """`ktpy quit` from another terminal; both must end well."""
        done = self._lab.exec(["ktpy", "quit"], user=self._user)
        assert done.returncode == 0, done.stderr
        assert self.wait_ended() == 0, self.output

    def close(self) -> None:
        """End it whatever state it is in: politely, then not."""
        if self.process.poll() is None:
            self._lab.exec(["ktpy", "quit"], user=self._user)
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(END_TIMEOUT_S)


class Connecting(Protocol):
    """The type of the `connect` fixture."""

    def __call__(self, *options: str, sudo: bool = True, env: dict[str, str] | None = None) -> ConnectSession: ...


@contextmanager
def connecting(
    lab: Lab, *options: str, sudo: bool = True, user: str = USER, env: Mapping[str, str] | None = None
) -> Iterator[ConnectSession]:
    """A session that is ready; it is ended with the block if nobody ended it before."""
    session = ConnectSession(lab, *options, sudo=sudo, user=user, env=env)
    try:
        session.wait_ready()
        yield session
    finally:
        session.close()
