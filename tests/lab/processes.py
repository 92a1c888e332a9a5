"""Processes that outlive the command that started them, known by pid *and* start time.

A pid alone may be somebody else's by the time it is used; the start time (clock ticks since boot, proc(5)) tells.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kit.waiting import eventually
from tests.lab.errors import LabError
from tests.lab.layout import REPOSITORY


@dataclass(frozen=True)
class ProcessRecord:
    """One process of the lab, as kept in a file."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessRecord":
        """Raises ProcessLookupError when there is no such process, or it is a zombie."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, ticks)

    @classmethod
    def read(cls, path: Path) -> "ProcessRecord | None":
        """The recorded process, or None when there is no (whole) record."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self)))
        partial.rename(path)

    def alive(self) -> bool:
        return _start_ticks(self.pid) == self.start_ticks

    def kill(self, sig: signal.Signals = signal.SIGKILL, timeout_s: float = 30.0) -> None:
        """End the process and wait until it is gone; no-op when it is gone already."""
        if not self.alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)
        wait_until(lambda: not self.alive(), timeout_s, f"process {self.pid} to end after {sig.name}")


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return None if state in ("Z", "X") else int(fields[18])


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll until `condition` holds; LabError when it does not in time."""
    if not eventually(condition, timeout_s=timeout_s):
        raise LabError(f"waited {timeout_s:g} s in vain for {what}")


def kill_and_wait(pids: Iterable[int], timeout_s: float) -> None:
    """SIGKILL to these, whoever started them; returns when they have ended (pidfd_open(2)), or after the time."""
    with contextlib.ExitStack() as descriptors:
        ending: set[int] = set()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                descriptors.callback(os.close, descriptor)
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                ending.add(descriptor)
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        for descriptor in ending:
            poll.register(descriptor, select.POLLIN)
        while ending and (ended := poll.poll(max(0.0, deadline - time.monotonic()) * 1000)):
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                ending.discard(descriptor)


def die_with_parent() -> None:
    """For `preexec_fn`: the child is killed when the thread that started it ends, however it ends (prctl(2))."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of the lab; its directory must be the repository."""
    return [sys.executable, "-m", f"tests.lab.{module}", *arguments]


def start_daemon(
    command: Sequence[str], *, log: Path, ready: str, timeout_s: float = 60.0, env: Mapping[str, str] | None = None
) -> None:
    """Start a process of the lab in a session of its own and wait until it prints a line `ready`.

    Its errors go to `log`; LabError with the log's end when it exits, or stays silent, instead.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=REPOSITORY,
            env=env,
            start_new_session=True,
        )
    if process.stdout is None:
        raise AssertionError("the pipe was asked for")
    with process.stdout as output:
        line = _read_line(output.fileno(), timeout_s)
    if line != ready:
        process.kill()
        process.wait()
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"{' '.join(command[1:4])} did not come up:\n{tail}")
    if process.poll() is None:
        process.returncode = 0  # it lives on, on purpose: no ResourceWarning


def _read_line(descriptor: int, timeout_s: float) -> str:
    line = b""
    deadline = time.monotonic() + timeout_s
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 200) if readable else b""
        if not chunk:
            break
        line += chunk
    return line.decode(errors="replace").strip()
