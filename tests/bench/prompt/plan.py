"""Measures `ktpy --help` and a Tab, each a process of its own, with an API server of 200 services on the loopback."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.prompt.cases import COLD, CPU, HELP, LINES, PYTHON
from tests.bench.samples import Samples
from tests.bench.specs import KTPY, Spec
from tests.kit.listing_api import listing
from tests.lab.errors import LabError
from tests.lab.report import say

RUNS = 20
"""A figure of a round is the median of so many."""
SERVICES = [
    {"metadata": {"name": f"web-{one}"}, "spec": {"ports": [{"port": 80, "name": "http"}]}} for one in range(200)
]
NOTHING = [sys.executable, "-c", "pass"]


def measure(specs: Sequence[Spec], rounds: int) -> Samples:
    samples = Samples()
    wanted = {spec.figure.removesuffix(CPU) for spec in specs}
    with tempfile.TemporaryDirectory(prefix="bench-prompt-") as root:
        config, ktpy = Path(root) / "config", [sys.executable, "-m", "ktpy"]
        environment = {**os.environ, "HOME": root, "XDG_CACHE_HOME": root, "KUBECONFIG": str(config)}
        with listing({"/api/v1/namespaces/shop/services": SERVICES}, config):
            for _ in range(rounds):
                for figure in filter(wanted.__contains__, (HELP, *LINES)):
                    _add(samples, PYTHON, figure, NOTHING, environment, 0)
                    if figure == HELP:
                        _add(samples, KTPY, figure, [*ktpy, "--help"], environment, 1)
                        continue
                    line = LINES[figure]
                    asked = {"_KTPY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": line.split(" ")[-1]}
                    cache = Path(root) / "ktpy" if figure == COLD else None
                    _add(samples, KTPY, figure, ktpy, environment | asked, figure != "tab-sessions", cache)
    return samples


def _add(
    samples: Samples,
    contender: str,
    figure: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    answers: int,
    cache: Path | None = None,
) -> None:
    """Run the command, which prints something where it has `answers`, each time without what it keeps in `cache`."""
    took_ms, cpu_ms = [], []
    with samples.reporting(figure):
        for run in range(RUNS + 1):
            if cache is not None:
                (cache / "names.json").unlink(missing_ok=True)
            before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
            took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode or bool(done.stdout) < bool(answers):
                raise LabError(f"it printed nothing: {done.stderr.decode()[-300:]}")
            if run:  # the first one loads, and writes what is kept
                took_ms.append(took_s * 1000)
                cpu_ms.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
        found = {figure: statistics.median(took_ms), figure + CPU: statistics.median(cpu_ms)}
        say(f"{contender}: {found}")
        samples.add(contender, found)
