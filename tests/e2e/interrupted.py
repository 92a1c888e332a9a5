"""Runs ktpy's command line, and sends it a signal before or after a named step of its work in the cluster.

    python -m tests.e2e.interrupted SIGKILL after 1 "redirect the service" exchange web --expose 3001:80

The signal comes as from outside, but at exactly that moment: the process is stopped, or gone, before anything else of
its happens. The number tells which time, for steps that entry and exit have in common. The command line itself knows
nothing of this.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ktpy.cluster import steps as work
from tests.lab.layout import REPOSITORY
from tests.lab.processes import wait_until

STOP_TIMEOUT_S = 60.0


def interrupted(number: signal.Signals, moment: str, step: str, time: int = 1) -> list[str]:
    """What to run on a laptop instead of `ktpy`."""
    environment = ["env", f"PYTHONPATH={REPOSITORY}"]
    return [*environment, sys.executable, "-m", "tests.e2e.interrupted", number.name, moment, str(time), step]


def until_stopped(process: "subprocess.Popen[str]") -> None:
    """Wait for SIGSTOP to have its effect."""

    def is_stopped() -> bool:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "Z", "it has ended instead"
        return state == "T"

    wait_until(is_stopped, STOP_TIMEOUT_S, "it to be stopped")


def interrupt(number: signal.Signals, moment: str, time: int, name: str) -> None:
    """From here on, whoever walks steps is interrupted at this one."""
    walk, done = work.walk, Counter[str]()

    async def run(step: work.Step) -> None:
        done[step.name] += 1
        is_it = step.name == name and done[name] == time
        if is_it and moment == "before":
            os.kill(os.getpid(), number)
        await step.run()
        if is_it and moment == "after":
            os.kill(os.getpid(), number)

    async def walk_interrupted(steps: Iterable[work.Step], on_done: Callable[[str], None] = lambda _: None) -> None:
        await walk([work.Step(step.name, partial(run, step)) for step in steps], on_done)

    work.walk = walk_interrupted


if __name__ == "__main__":
    number, moment, time, name, *arguments = sys.argv[1:]
    interrupt(signal.Signals[number], moment, int(time), name)
    from ktpy.__main__ import main  # now, so that all that walks steps finds the interrupted walk

    sys.argv = ["ktpy", *arguments]
    main()
