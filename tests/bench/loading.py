"""Running the programs of `load/` where they belong: on the laptop as its user, or on the node."""

import json
import subprocess
import sys
from typing import Any

from tests.bench.errors import BenchError
from tests.lab import Lab, LabError
from tests.lab.layout import LAPTOP_USER, REPOSITORY

TIMEOUT_S = 90.0


def command(program: str, *arguments: object) -> list[str]:
    """The command line of `tests.bench.load.<program>`; needs ENVIRONMENT."""
    return [sys.executable, "-m", f"tests.bench.load.{program}", *map(str, arguments)]


ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY)}


def on_laptop(lab: Lab, program: str, *arguments: object) -> Any:
    """What the program printed; BenchError with its last words when it failed."""
    try:
        done = lab.exec(command(program, *arguments), user=LAPTOP_USER, env=ENVIRONMENT, timeout_s=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{program} took longer than {TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise BenchError(f"{program}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return json.loads(done.stdout)


def on_node(lab: Lab, program: str, *arguments: object) -> Any:
    """The same on the node, without a tunnel."""
    variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    try:
        return json.loads(lab.node("env", *variables, *command(program, *arguments)))
    except LabError as error:
        raise BenchError(str(error).splitlines()[-1]) from error
