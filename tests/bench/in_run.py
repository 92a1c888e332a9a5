"""Inside `ktpy run`: how soon a program begins and hears a service, and the laptop for figures that `connect` has."""

import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.cases import RUN_GOALS, RUN_STARTS
from tests.bench.errors import BenchError
from tests.bench.server import HTTP_PORT
from tests.bench.target import NAME, NAMESPACE
from tests.lab import Lab
from tests.lab.layout import LAPTOP_USER

RUN = ("ktpy", "run", "--namespace", NAMESPACE)
PROGRAM = ("sh", "-c", f"echo; exec curl -sS http://{NAME}:{HTTP_PORT}/")
END_TIMEOUT_S = 20.0


class InRun(Lab):
    """The lab, but each command on its laptop is a program of `ktpy run`."""

    def exec(self, argv: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
        return super().exec([*RUN, "--", *argv], **how)


def measure(lab: Lab) -> dict[str, float]:
    """One run without a workload and one with; BenchError when no byte came."""
    figures = {}
    for way, workload in RUN_STARTS.items():
        began_s = time.monotonic()
        process = lab.popen([*RUN, *workload, "--", *PROGRAM], user=LAPTOP_USER, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        for name in RUN_GOALS:
            if not os.read(process.stdout.fileno(), 1):
                raise BenchError(f"run: no word of the program, and code {process.wait(END_TIMEOUT_S)}")
            figures[way + name] = time.monotonic() - began_s
        process.communicate(timeout=END_TIMEOUT_S)
    return figures
