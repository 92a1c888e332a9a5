"""Measures the rows, each in a process of its own, whose memory is the laptop's."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.samples import Samples
from tests.bench.specs import KTPY, Spec
from tests.bench.sync.cases import (
    FILES,
    INITIAL,
    MANY_FILES,
    MEMORY,
    SAVED_P50,
    SAVED_P99,
    SYNCTHING,
)
from tests.bench.sync.syncthing import initial_s
from tests.lab.errors import LabError
from tests.lab.layout import REPOSITORY
from tests.lab.report import say

TIMEOUT_S = 900.0


def measure(samples: Samples, specs: Sequence[Spec], rounds: int) -> None:
    """All rows but that of the large file, which `in_cluster` has."""
    figures = {spec.figure for spec in specs}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-sync-") as root:
            if figures & {SAVED_P50, SAVED_P99}:
                _add(samples, root, "saved", {SAVED_P50: "p50_ms", SAVED_P99: "p99_ms"})
            if INITIAL in figures:
                _add(samples, root, f"files {FILES}", {INITIAL: "seconds"})
                with samples.reporting(SYNCTHING):
                    samples.add(SYNCTHING, {INITIAL: initial_s(Path(root) / SYNCTHING, FILES, TIMEOUT_S)})
            if MEMORY in figures:
                _add(samples, root, f"files {MANY_FILES}", {MEMORY: "peak_mb"})


def _add(samples: Samples, root: str, what: str, ours: dict[str, str]) -> None:
    """Run the laptop's side once, in a folder of its own."""
    folder = Path(root) / what.replace(" ", "-")
    folder.mkdir()
    command = [sys.executable, "-m", "tests.bench.sync.laptop", str(folder), *what.split()]
    with samples.reporting(what):
        done = subprocess.run(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False, timeout=TIMEOUT_S
        )
        if done.returncode:
            raise LabError("the laptop's side failed (why is above)")
        found = json.loads(done.stdout)
        say(f"{what}: {found}")
        samples.add(KTPY, {figure: found[key] for figure, key in ours.items()})
    shutil.rmtree(folder)
