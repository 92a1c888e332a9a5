"""Every cell of the matrix: commands, their states, faults, and which of them do not go together. Pure."""

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from itertools import product

COMMANDS = ("connect", "run", "exchange", "mesh", "preview", "dev")
STATES = ("starting", "ready", "ending")
HELPED = ("connect", "run")
"""Commands with a helper."""
DETACHABLE = ("connect", "exchange", "mesh", "preview")
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL)


class Target(Enum):
    """Who is hit."""

    MAIN = "main"
    HELPER = "helper"
    BOTH = "both"
    DETACHED = "detached"
    LAPTOP = "laptop"
    CLUSTER = "cluster"
    """All commands at once, as there is one cluster."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. A fault with a number is that signal to the target; the others are made in tests/chaos/strikes.py."""

    name: str
    title: str
    target: Target
    number: signal.Signals | None = None
    lasts_s: float = 0.0
    """How long it lasts; of some that last until the command has ended or stands again, at most."""
    is_of_pod: bool = False
    """Whether it needs a pod of the command's, so that it comes when there is one."""


_PROCESSES = {
    Target.MAIN: "the main process",
    Target.HELPER: "the helper",
    Target.BOTH: "both at once",
    Target.DETACHED: "a session in the background",
}

FAULTS = (
    *(
        Fault(f"{target.value}-{number.name[3:]}", f"{number.name} to {whom}", target, number)
        for target, whom in _PROCESSES.items()
        for number in SIGNALS
    ),
    Fault("stopped", "all its processes stopped for 60 s (SIGSTOP), as a laptop sleeps", Target.LAPTOP, lasts_s=60.0),
    Fault("laptop-killed", "everything on the laptop killed at once", Target.LAPTOP),
    Fault("cable", "the cable out for 30 s", Target.LAPTOP, lasts_s=30.0),
    Fault("disk-full", "the disk full", Target.LAPTOP, lasts_s=10.0),
    Fault("home-read-only", "the home folder read-only", Target.LAPTOP, lasts_s=10.0),
    Fault("clock-ahead", "the clock jumps a day ahead", Target.LAPTOP, lasts_s=10.0),
    Fault("clock-behind", "the clock jumps a day back", Target.LAPTOP, lasts_s=10.0),
    Fault("api-server", "the API server killed, and started again", Target.CLUSTER),
    Fault("kubelet", "the kubelet killed, and started again", Target.CLUSTER),
    Fault("containerd", "containerd killed, and started again", Target.CLUSTER),
    Fault("pod-deleted", "its pod deleted: shadow, gateway or dev pod", Target.LAPTOP, is_of_pod=True),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One experiment."""

    command: str
    state: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.command}/{self.state}/{self.fault.name}"

    @property
    def why_not(self) -> str | None:
        """Why the fault does not apply; None where it does."""
        match self.fault.target:
            case Target.HELPER | Target.BOTH if self.command not in HELPED:
                return "has no helper"
            case Target.DETACHED if self.command not in DETACHABLE:
                return "has no `--detach`"
            case _:
                return None


CELLS = tuple(
    Cell(command, state, fault) for command, fault, state in product(COMMANDS, FAULTS, STATES)
)  # in an order in which a command's cells are run


class UnknownCell(ValueError):
    """No cell is called so."""


def select(patterns: Iterable[str]) -> Iterator[Cell]:
    """Yield the cells that apply and match a pattern (as file names do), first those of the first; no pattern: all.

    Raises UnknownCell for a pattern that matches nothing.
    """
    wanted = list(patterns) or ["*"]
    for pattern in wanted:
        if not any(fnmatchcase(str(cell), pattern) for cell in CELLS):
            raise UnknownCell(f"no cell is called {pattern!r}; they are called like {CELLS[0]}")
    yield from dict.fromkeys(
        cell for pattern in wanted for cell in CELLS if cell.why_not is None and fnmatchcase(str(cell), pattern)
    )


OF_PODS = "pod"
"""The step of which the user is told each time when a pod comes on: more or less often, as that is fast or slow."""
_REQUEST = re.compile(r"[A-Z]+ ")


@dataclass(frozen=True, slots=True)
class Hold:
    """Where a command is held while the fault comes: moment and time as tests/e2e/kit/signal_at_step.py has them."""

    moment: str
    time: int
    step: str

    def __str__(self) -> str:
        if self == TOLD_TO_END:
            return "told to end"
        return f"{self.moment} {self.step!r}" if self.moment == "told" else f"{self.moment} step {self.step!r}"


TOLD_TO_END = Hold("told", 0, "")
"""Before the first step of the way out: SIGTERM has been sent, and not been heard yet."""


def holds(walked: Iterable[Hold]) -> list[Hold]:
    """Return where a command can be held, from all that it has walked on its way: after each of its steps, and where
    the user is told of something after the last of them.

    Where it has no steps (`connect` and `run`) it is where the user is told of something for the first time: how often
    that is differs from start to start.
    """
    reached = [one for one in walked if not _REQUEST.match(one.step) and one.moment != "before"]
    last = max((place for place, one in enumerate(reached) if one.moment == "after"), default=None)
    if last is None:
        return [one for one in reached if one.time == 1]
    steps = [one for one in reached[: last + 1] if one.moment == "after"]
    later = reached[last + 2 :]  # the first tells that the last step is done
    return steps + [one for one in later if one.step != OF_PODS]


def chosen(cell: Cell, points: list[Hold]) -> Hold:
    """Return where this cell's command is held: faults take the steps in turn, so that each step has its fault."""
    rank = [fault.name for fault in FAULTS].index(cell.fault.name)
    if cell.state == "starting":
        return points[-1 if cell.fault.is_of_pod else rank % len(points)]
    if cell.fault.is_of_pod or cell.fault.target in (Target.HELPER, Target.BOTH):
        return TOLD_TO_END  # later there may be none
    return [TOLD_TO_END, *points][rank % (1 + len(points))]
