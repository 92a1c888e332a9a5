"""Measures `ktpy --help` and a Tab, each a process of its own, with an API server of 200 services on the loopback."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.against import build_of
from tests.bench.cases import AGAINST
from tests.bench.prompt.cases import COLD, CPU, HELP, HELP_AGAINST, LINES, PYTHON
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


def measure(specs: Sequence[Spec], rounds: int, against: str | None) -> Samples:
    """`against` is a revision, whose `ktpy --help` is compared with that of HEAD: each is an environment of its own."""
    samples = Samples()
    wanted = {spec.figure.removesuffix(CPU) for spec in specs}
    with tempfile.TemporaryDirectory(prefix="bench-prompt-") as root, ExitStack() as builds:
        config, ktpy = Path(root) / "config", [sys.executable, "-m", "ktpy"]
        environment = {**os.environ, "HOME": root, "XDG_CACHE_HOME": root, "KUBECONFIG": str(config)}
        helps: dict[str, dict[str, Sequence[str]]] = {HELP: {PYTHON: NOTHING, KTPY: [*ktpy, "--help"]}}
        if against is not None:
            revisions = {KTPY: "HEAD", AGAINST: against}
            programs = {name: builds.enter_context(build_of(revision)) for name, revision in revisions.items()}
            helps[HELP_AGAINST] = {name: [*program, "--help"] for name, program in programs.items()}
        with listing({"/api/v1/namespaces/shop/services": SERVICES}, config):
            for _ in range(rounds):
                for figure in filter(wanted.__contains__, helps):
                    _by_turns(samples, figure, helps[figure], environment)
                for figure, line in LINES.items():
                    if figure not in wanted:
                        continue
                    asked = {"_KTPY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": line.split(" ")[-1]}
                    cache = Path(root) / "ktpy" / "names.json" if figure == COLD else None
                    ways: dict[str, Sequence[str]] = {PYTHON: NOTHING, KTPY: ktpy}
                    _by_turns(samples, figure, ways, environment | asked, answers=figure != "tab-sessions", cache=cache)
    return samples


def _by_turns(
    samples: Samples,
    figure: str,
    ways: dict[str, Sequence[str]],
    environment: Mapping[str, str],
    *,
    answers: bool = True,
    cache: Path | None = None,
) -> None:
    """Run the commands by turns, each time without what is kept in the file `cache`. With `answers` ktpy prints."""
    took: dict[str, list[tuple[float, float]]] = {contender: [] for contender in ways}
    with samples.reporting(figure):
        for run in range(RUNS + 1):
            for contender in reversed(ways) if run % 2 else ways:
                if cache is not None:
                    cache.unlink(missing_ok=True)
                done, wall_ms, cpu_ms = _run(ways[contender], environment)
                if done.returncode or (answers and contender != PYTHON and not done.stdout):
                    raise LabError(f"it printed nothing: {done.stderr.decode()[-300:]}")
                if run:  # the first one loads, and writes what is kept
                    took[contender].append((wall_ms, cpu_ms))
        for contender, times in took.items():
            wall_ms, cpu_ms = map(statistics.median, zip(*times, strict=True))
            say(f"{contender}: {figure} {wall_ms:.1f} ms, of the processor {cpu_ms:.1f} ms")
            samples.add(contender, {figure: wall_ms, figure + CPU: cpu_ms})


def _run(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple["subprocess.CompletedProcess[bytes]", float, float]:
    """Run it; return how long it took, and how long the processor, in milliseconds."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, took_s * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
