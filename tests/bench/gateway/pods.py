"""A pod as the machine sees it, of which the node is a part: its processes, to be run there, weighed, or killed."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import memory
from tests.bench.errors import BenchError
from tests.bench.target import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import ProcessRecord

PYTHON = ("env", "PYTHONPATH=/code", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m")
TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    command: tuple[str, ...]

    def is_called(self, *words: str) -> bool:
        """Whether its command has all these words, or file names."""
        return {Path(word).name for word in self.command}.issuperset(words)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        with suppress(ProcessLookupError):
            ProcessRecord.of(self.pid).kill(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    uid: str
    ip: str

    @classmethod
    def named(cls, lab: Lab, name: str) -> "Pod":
        return cls.of(lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"))

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Pod":
        return cls(document["metadata"]["name"], document["metadata"]["uid"], document["status"].get("podIP", ""))

    def processes(self) -> list[Process]:
        """Those that run now, by age; the one that holds the pod's namespaces is none of its own."""
        return sorted(self._processes(), key=lambda process: process.pid)

    def _processes(self) -> Iterator[Process]:
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may end while we look
                words = (directory / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                if f"pod{self.uid}" in (directory / "cgroup").read_text() and words not in ([""], ["/pause"]):
                    yield Process(int(directory.name), tuple(words))

    def memory_mb(self) -> float:
        """Of all processes together; pages they share count once."""
        return sum(memory.of_process(process.pid)["pss"] for process in self.processes())

    def command(self, program: str, *arguments: object) -> list[str]:
        """The command line, for the machine, that runs a program of `load/` in the pod, without the API server."""
        processes = self.processes()
        if not processes:
            raise BenchError(f"pod {self.name} has no process on this machine")
        flags = [f"--{kind}" for kind in ("mount", "net", "pid", "uts", "ipc")]
        enter = ["nsenter", f"--target={processes[0].pid}", *flags, "--wd=/"]
        return [*enter, *PYTHON, f"tests.bench.load.{program}", *map(str, arguments)]

    def run(self, program: str, *arguments: object) -> Any:
        """What the program printed; BenchError with its last words when it failed."""
        command = self.command(program, *arguments)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{program} took longer than {TIMEOUT_S:g} s") from None
        if done.returncode != 0:
            raise BenchError(f"{program}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        return json.loads(done.stdout)


def gateway_pods(lab: Lab, service: str) -> list[Pod]:
    """The gateway's pods of a service that are not about to go."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=ktpy.dev%2Fgateway%3D{service}"
    return [Pod.of(one) for one in lab.api.get(path)["items"] if "deletionTimestamp" not in one["metadata"]]


def started_s(process: Process) -> float:
    """When a process began, on the monotonic clock, to a hundredth of a second (proc(5))."""
    begun_s = ProcessRecord.of(process.pid).start_ticks / 100
    return begun_s - time.clock_gettime(time.CLOCK_BOOTTIME) + time.monotonic()
