"""Everybody else: 200 requests a second from two pods, and what became of them."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO

from tests.bench.gateway.pods import Pod
from tests.bench.gateway.target import PORT, WEB, Target
from tests.lab.sessions.request_log import Visit, Visits

RATE = 200.0  # requests a second, of all pods together
END_TIMEOUT_S = 30.0


@dataclass
class Load(Visits):
    """`late_s`: by how much a request began after it was due, at most: the machine's fault, but part of the figures."""

    late_s: float = field(default=0.0, kw_only=True)

    def read(self, output: IO[str]) -> None:
        """What one pod's program prints, to its end."""
        for line in output:
            due_s, late_s, took_s, answer, is_retried = json.loads(line)
            self.late_s = max(self.late_s, late_s)
            self.visits.append(Visit(due_s, took_s, answer, is_retried, late_s=late_s))

    @property
    def outage_s(self) -> float:
        """From the first request that failed to the last: when they were due."""
        due_s = [visit.began_s for visit in self.failures()]
        return max(due_s) - min(due_s) + 1 / RATE if due_s else 0.0


@contextmanager
def steady_load(target: Target) -> Iterator[Load]:
    """They come until the block ends; then the last of them have had their answers."""
    seen = Load()
    with ExitStack() as stack:
        programs = [stack.enter_context(_program(pod, target)) for pod in target.visitors]
        readers = [
            threading.Thread(target=seen.read, args=(program.stdout,), name=f"visitors, process {program.pid}")
            for program in programs
        ]
        for reader in readers:
            reader.start()
        try:
            yield seen
        finally:
            for program in programs:
                assert program.stdin is not None
                program.stdin.close()  # tells it to end
            for reader in readers:
                reader.join(END_TIMEOUT_S)


def _program(pod: Pod, target: Target) -> subprocess.Popen[str]:
    command = pod.command("steady", target.cluster_ips[WEB], PORT, RATE / len(target.visitors))
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
