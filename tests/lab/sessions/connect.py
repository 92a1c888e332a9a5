"""`ktpy connect` in the foreground of a terminal on the laptop, as user dev types it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tests.lab import Lab
from tests.lab.sessions.foreground import Foreground

USER = "dev"
PROGRAM = ("ktpy",)


class ConnectSession(Foreground):
    """It, and the other commands of its user."""

    def __init__(
        self,
        lab: Lab,
        *options: str,
        sudo: bool = True,
        user: str = USER,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        super().__init__(lab, [*(["sudo"] if sudo else []), *program, "connect", *options], user=user, env=env)

    def wait_ready(self) -> None:
        self.wait_for("\nconnected to ")

    def status(self) -> dict[str, Any]:
        """`ktpy status` of the user's one session of `connect`, from another terminal."""
        done = self._lab.exec(["ktpy", "status", "--output", "json"], user=self._user, check=True)
        [session] = [one for one in json.loads(done.stdout)["sessions"] if one["kind"] == "connect"]
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
        self.end()


class Connecting(Protocol):
    """The type of the `connect` fixture."""

    def __call__(self, *options: str, sudo: bool = True, env: dict[str, str] | None = None) -> ConnectSession: ...


@contextmanager
def connecting(
    lab: Lab,
    *options: str,
    sudo: bool = True,
    user: str = USER,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
) -> Iterator[ConnectSession]:
    """A session that is ready; it is ended with the block if nobody ended it before."""
    session = ConnectSession(lab, *options, sudo=sudo, user=user, env=env, program=program)
    try:
        session.wait_ready()
        yield session
    finally:
        session.close()
