"""The processes of ktpy on the laptop, found among all of this machine by the network namespace they are in.

Who is killed, and when, is what tests of undoing are about: the main process, the privileged helper, or both.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab
from tests.lab.processes import ProcessRecord, wait_until

GONE_TIMEOUT_S = 60.0
FOUND_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process of ktpy. `main` is `ktpy connect` itself, never the sudo in front of it."""

    role: str
    record: ProcessRecord
    is_of_root: bool
    """Root itself typed the command, not a user by sudo."""

    def send(self, number: signal.Signals) -> None:
        os.kill(self.record.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.record.kill()

    def wait_gone(self) -> None:
        wait_until(lambda: not self.record.alive(), GONE_TIMEOUT_S, f"{self.role} to end")


def of(lab: Lab, *, of_root: bool = False) -> list[Running]:
    """All that run now, of user dev, or of root."""
    return [running for running in _all(lab) if running.is_of_root == of_root]


def only(lab: Lab, role: str, *, of_root: bool = False) -> Running:
    """The one that has this role: `main` or `helper`."""
    [running] = [running for running in of(lab, of_root=of_root) if running.role == role]
    return running


def wait_none(lab: Lab) -> None:
    """Wait until no process of dev's ktpy is left on the laptop."""
    wait_until(lambda: not of(lab), GONE_TIMEOUT_S, "every process of ktpy to end")


def kill(lab: Lab, *roles: str) -> None:
    """SIGKILL to those of these roles. A helper is stopped first: it neither forks nor sees the other's end."""
    found: dict[ProcessRecord, Running] = {}

    def are_found() -> bool:
        """Look for them, and again after one was stopped, which may just have become a daemon.

        One that becomes another program, as what stands by does, has no name for a moment.
        """
        news = {one.record: one for one in of(lab) if one.role in roles and one.record not in found}
        found.update(news)
        for running in news.values():
            if running.role == "helper":  # not main, whose sudo would stop with it
                with suppress(ProcessLookupError):
                    running.send(signal.SIGSTOP)
        return not news and {running.role for running in found.values()} == set(roles)

    wait_until(are_found, FOUND_TIMEOUT_S, f"ktpy's {' and '.join(roles)}")
    for running in sorted(found.values(), key=lambda running: running.role, reverse=True):  # main, then helpers
        running.kill()


def _all(lab: Lab) -> Iterator[Running]:
    laptop = lab.layout.laptop_netns_path.stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end while we look
            argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if (role := _role(argv)) and (process / "ns/net").stat().st_ino == laptop:
                by_sudo = b"\0SUDO_UID=" in b"\0" + (process / "environ").read_bytes()
                yield Running(role, ProcessRecord.of(int(process.name)), not by_sudo and process.stat().st_uid == 0)


def _role(argv: list[str]) -> str | None:
    if Path(argv[0]).name == "sudo":
        return None
    if "ktpy.helper" in argv:
        return "helper"
    return "main" if "connect" in argv and any(Path(word).name == "ktpy" for word in argv[:2]) else None
