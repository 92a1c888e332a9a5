"""`ktpy run` with a program that sleeps: its processes, to be killed or counted."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.lab import Lab
from tests.lab.processes import ProcessRecord, wait_until
from tests.lab.sessions.foreground import Foreground

GONE_TIMEOUT_S = SLEEP_TIMEOUT_S = 60.0


class Sleeping(Foreground):
    """A Sleeping has three processes once it is ready: ktpy itself (main), its helper, and the program."""

    def __init__(self, lab: Lab, *options: str, script: str = "true") -> None:
        """`script` comes before the program's sleep."""
        super().__init__(lab, ["ktpy", "run", *options, "--", "sh", "-c", f"{script}; echo it runs; exec sleep 1000"])
        self.processes: dict[str, ProcessRecord] = {}

    def wait_ready(self) -> None:
        self.wait_for("it runs")
        self.processes = dict(self._found())

    def kill_only(self, *roles: str) -> None:
        """SIGKILL to these, one right after the other; the first may take others along."""
        for role in roles:
            with suppress(ProcessLookupError):
                os.kill(self.processes[role].pid, signal.SIGKILL)

    def wait_gone(self) -> None:
        """Wait until no process of it is left."""
        wait_until(lambda: not any(one.alive() for one in self.processes.values()), GONE_TIMEOUT_S, "a run to be gone")

    def pss_mb(self) -> float:
        """The memory of all its processes, shared pages by their share (proc(5)), in 10^6 bytes."""
        rollups = [Path(f"/proc/{one.pid}/smaps_rollup").read_text() for one in self.processes.values()]
        found = re.findall(r"^Pss: +(\d+) kB", "".join(rollups), re.MULTILINE)
        return sum(map(int, found)) * 1024 / 1e6

    def close(self) -> None:
        """Have it ended, if it is not."""
        self.process.terminate()
        self.end()

    def _found(self) -> Iterator[tuple[str, ProcessRecord]]:
        yield "main", ProcessRecord.of(self.process.pid)
        wait_until(lambda: bool(self._programs()), SLEEP_TIMEOUT_S, "sleep to take the shell's place")
        [program] = self._programs()
        yield "program", ProcessRecord.of(program)
        helpers = [pid for pid in _pids() if "ktpy.helper" in _words(pid)]
        yield from (("helper", ProcessRecord.of(pid)) for pid in helpers if _network(pid) == _network(program))

    def _programs(self) -> list[int]:
        return [pid for pid in _pids() if _parent(pid) == self.process.pid and _words(pid)[0] == "sleep"]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _words(pid: int) -> list[str]:
    """The command line; one empty word where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return [""]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _network(pid: int) -> int:
    """The network namespace; 0 where it has ended, as another lab's may meanwhile."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    return 0
