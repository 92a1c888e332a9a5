"""`ktpy up` where everything stands: how long it takes to find that there is nothing to do."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.errors import BenchError
from tests.bench.server import HTTP_PORT, SINK_PORT
from tests.bench.target import NAME, NAMESPACE
from tests.lab import Lab
from tests.lab.layout import LAPTOP_USER

FIGURE = "up-again"
FOLDER = "/home/dev/bench-up"
FILE = f"""
namespace: {NAMESPACE}
connect: {{}}
mesh:
- target: {NAME}
  expose: [3001:{HTTP_PORT}]
  version: ${{USER}}
  protocol: http
forward:
- target: {NAME}
  ports: ["14001:{SINK_PORT}"]
commands:
- name: idle
  command: [sleep, infinity]
"""
TIMEOUT_S = 120.0
LAST_WORDS_CHARACTERS = 600
UP = f"cd {FOLDER} && USER=dev exec ktpy"


@contextmanager
def standing(lab: Lab) -> Iterator[Callable[[], float]]:
    """All kinds of entries stand. Yields what runs `ktpy up` once more, and returns how many seconds it took."""
    write = f"mkdir -p {FOLDER} && cat > {FOLDER}/ktpy.yaml"
    lab.exec(["sh", "-c", write], user=LAPTOP_USER, stdin=FILE, check=True)
    try:
        _up(lab, "start")
        yield lambda: _up(lab, "none")
    finally:
        lab.exec(["sh", "-c", f"{UP} down"], user=LAPTOP_USER, timeout_s=TIMEOUT_S)
        lab.exec(["rm", "-r", FOLDER], user=LAPTOP_USER)


def _up(lab: Lab, change: str) -> float:
    """Run it; BenchError where it does something else than this to each entry."""
    began_s = time.monotonic()
    done = lab.exec(["sh", "-c", f"{UP} up --output json"], user=LAPTOP_USER, timeout_s=TIMEOUT_S)
    took_s = time.monotonic() - began_s
    entries = json.loads(done.stdout)["entries"] if done.returncode == 0 else []
    if not entries or {one["change"] for one in entries} != {change}:
        raise BenchError(f"ktpy up: {(done.stderr + done.stdout).strip()[-LAST_WORDS_CHARACTERS:]}")
    return took_s
