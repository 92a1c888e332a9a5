"""A program that runs on the laptop while something is measured."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.errors import BenchError
from tests.lab import Lab
from tests.lab.layout import LAPTOP_USER

READY_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.02
LAST_WORDS_CHARACTERS = 300


class Background:
    """Its process, and what it printed: into a file, because nobody reads a pipe while the load runs."""

    def __init__(self, process: subprocess.Popen[str], output_path: Path) -> None:
        self.process = process
        self._output_path = output_path

    @property
    def output(self) -> str:
        return self._output_path.read_text(errors="replace")

    def wait_for(self, pattern: str, *, times: int = 1, timeout_s: float = READY_TIMEOUT_S) -> list[tuple[str, ...]]:
        """The groups of the first `times` matches in its output; BenchError when it ends or is late."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None
            found = [match.groups() for match in re.finditer(pattern, self.output, re.MULTILINE)]
            if len(found) >= times:
                return found[:times]
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"was not ready in {timeout_s:g} s"
                raise BenchError(f"{why}: {self.output.strip()[-LAST_WORDS_CHARACTERS:]}")
            time.sleep(POLL_INTERVAL_S)


@contextmanager
def background(
    lab: Lab, argv: Sequence[str], *, user: str = LAPTOP_USER, env: Mapping[str, str] | None = None
) -> Iterator[Background]:
    """Start `argv` on the laptop, in a process group of its own, which ends with the block."""
    with tempfile.NamedTemporaryFile("w", prefix="ktpy-bench-") as output:
        process = lab.popen(argv, user=user, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Background(process, Path(output.name))
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Politely (it has things to undo), then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
