"""Programs of the machine that are a pod's to everybody else."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.layout import REPOSITORY


@contextmanager
def serving(pod: Path, *command: str, until: str) -> Iterator[None]:
    """In the pod's network namespace. It begins by printing `until`."""
    argv = ["nsenter", f"--net={pod}", *command]
    with subprocess.Popen(
        argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = ""
            while until not in said:
                said += (line := process.stdout.readline())
                assert line, f"{command[0]} ended: {said}"
            yield
        finally:
            process.terminate()
