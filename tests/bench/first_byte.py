"""`ktpy connect` from its start to the first byte: the figure, and its parts from ktpy's own progress lines."""

import re

from tests.bench.cases import FIRST_BYTE, FIRST_BYTE_PART
from tests.bench.errors import BenchError
from tests.bench.loading import on_laptop
from tests.bench.server import HTTP_PORT
from tests.bench.target import NAME, NAMESPACE
from tests.lab import Lab

_STEP = re.compile(r"  (?P<name>\w+) +(?P<detail>.*) \(\d+\.\d+ s\)")
_POD_STAGE = re.compile(r"[^ ]+: (?P<stage>\w+)")


def part(line: str) -> str | None:
    """The part of the start-up that this line says is done; None for other lines. Those of the pod say which stage."""
    if line.startswith("connected to "):
        return "ready"
    step = _STEP.fullmatch(line)
    if step is None:
        return None
    stage = _POD_STAGE.match(step["detail"]) if step["name"] == "pod" else None
    return f"{step['name']}-{stage['stage']}" if stage else step["name"]


def parts(lines: list[tuple[float, str]]) -> dict[str, float]:
    """When each part was done, in seconds from the start of the command; what is said twice counts the first time."""
    done: dict[str, float] = {}
    for moment_s, line in lines:
        if name := part(line):
            done.setdefault(name, moment_s)
    return done


def measure(lab: Lab) -> dict[str, float]:
    """One session from nothing to nothing; BenchError when no byte came."""
    seen = on_laptop(lab, "first_byte", NAME, HTTP_PORT, "--namespace", NAMESPACE)
    lines = [(moment_s, line) for moment_s, line in seen["lines"]]
    if seen["first_byte_s"] is None:
        raise BenchError(f"connect: {(lines or [(0, 'no word')])[-1][1]}")
    return {FIRST_BYTE: seen["first_byte_s"]} | {
        FIRST_BYTE_PART + name: moment_s for name, moment_s in parts(lines).items()
    }
