"""One large file into a dev container through the API server, by turns with one flow of `ktpy connect` upwards."""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench import contenders, measurements
from tests.bench import target as bench_target
from tests.bench.background import background
from tests.bench.errors import BenchError
from tests.bench.gateway.pods import Pod
from tests.bench.load.large_file import NAME
from tests.bench.loading import on_laptop
from tests.bench.samples import Samples
from tests.bench.specs import KTPY
from tests.bench.sync.cases import LARGE, LARGE_MIB, TUNNEL
from tests.bench.target import NAMESPACE
from tests.lab import Lab
from tests.lab.layout import LAPTOP_USER
from tests.lab.processes import wait_until

FOLDER, REMOTE = "/home/dev/bench-sync", "home/dev"
ARRIVES_WITHIN_S, GONE_WITHIN_S = 120.0, 60.0
READY_TIMEOUT_S = 60.0
POLL_S = 0.01
FLOW_S = 5.0
MB_OF_GBIT = 125
UP = measurements.throughput(1, "up")

logger = logging.getLogger(__name__)


def measure(lab: Lab, samples: Samples, rounds: int) -> None:
    """Each round has a file and a flow, every other one the other way about."""
    with (
        samples.reporting(LARGE),
        _developing(lab) as container,
        contenders.ktpy(lab, bench_target.deploy(lab)) as connected,
    ):

        def flow() -> float:
            return UP.take(lab, connected, FLOW_S)[UP.figures[0]] * MB_OF_GBIT

        for number in range(rounds):
            logger.info("%s, round %d of %d", LARGE, number + 1, rounds)
            ways = {KTPY: lambda: _file_rate(lab, container), TUNNEL: flow}
            found = {name: ways[name]() for name in (reversed(ways) if number % 2 else ways)}
            for name, rate in found.items():
                samples.add(name, {LARGE: rate})


@contextmanager
def _developing(lab: Lab) -> Iterator[Path]:
    """The container's folder, as the machine sees it, that is kept alike with FOLDER."""
    bench_target.deploy(lab)
    lab.exec(["sh", "-c", f"rm -rf {FOLDER}*; mkdir {FOLDER}"], user=LAPTOP_USER, check=True)
    here = (f"pod/{bench_target.NAME}", "--namespace", NAMESPACE)
    command = ["ktpy", "dev", "start", *here, "--mode", "duplicate", "--sync", FOLDER, "--", "sh", "-c"]
    try:
        with background(lab, [*command, "echo it runs; exec sleep infinity"]) as session:
            session.wait_for("^it runs", timeout_s=READY_TIMEOUT_S)
            yield _folder(lab)
    finally:
        lab.exec(["sh", "-c", f"rm -rf {FOLDER}*"], user=LAPTOP_USER)


def _folder(lab: Lab) -> Path:
    for document in lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]:
        for process in Pod.of(document).processes():
            if process.is_called("sleep", "infinity"):
                return Path(f"/proc/{process.pid}/root") / REMOTE
    raise BenchError("the dev container's process is not on this machine")


def _file_rate(lab: Lab, container: Path) -> float:
    """MB (10^6 bytes) a second, from when the file is in the laptop's folder until it is in the container's, whole."""
    there = container / NAME
    began_s = float(on_laptop(lab, "large_file", FOLDER, LARGE_MIB))
    size_bytes = LARGE_MIB << 20
    deadline_s = began_s + ARRIVES_WITHIN_S
    while not _is_whole(there, size_bytes):
        if time.monotonic() > deadline_s:
            raise BenchError(f"the file has not arrived within {ARRIVES_WITHIN_S:g} s")
        time.sleep(POLL_S)
    took_s = time.monotonic() - began_s
    sent = lab.exec(["sha256sum", f"{FOLDER}/{NAME}"], user=LAPTOP_USER, check=True).stdout.split()[0]
    with there.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sent:
            raise BenchError("another file has arrived")
    lab.exec(["rm", f"{FOLDER}/{NAME}"], user=LAPTOP_USER, check=True)
    wait_until(lambda: not there.exists(), GONE_WITHIN_S, "the file to go from the container")
    return size_bytes / 1e6 / took_s


def _is_whole(path: Path, size_bytes: int) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size == size_bytes
    return False
