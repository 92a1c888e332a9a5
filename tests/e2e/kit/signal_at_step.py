"""Runs ktpy's command line, and sends it a signal before or after a named step of its work in the cluster.

    python -m tests.e2e.kit.signal_at_step SIGKILL after 1 "redirect the service" exchange web --expose 3001:80

The signal comes as from outside, but at exactly that moment: the process is stopped, or gone, before anything else of
its happens. The number tells which time, for steps that entry and exit have in common. Instead of a step, a request may
be named: "PATCH services/web"; `told` in place of `before` means the moment when the user is told of it. The command
line itself knows nothing of this.
"""

import mmap
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ktpy.cluster import steps as work
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.observe.events import StartStep
from tests.lab.layout import REPOSITORY
from tests.lab.processes import wait_until

STOP_TIMEOUT_S = 120.0
Result = TypeVar("Result")


def interrupted(number: signal.Signals, moment: str, step: str, time: int = 1) -> list[str]:
    """What to run on a laptop instead of `ktpy`."""
    environment = ["env", f"PYTHONPATH={REPOSITORY}"]
    return [*environment, sys.executable, "-m", "tests.e2e.kit.signal_at_step", number.name, moment, str(time), step]


def until_stopped(process: "subprocess.Popen[str]") -> None:
    """Wait for SIGSTOP to have its effect."""

    def is_stopped() -> bool:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "Z", "it has ended instead"
        return state == "T"

    wait_until(is_stopped, STOP_TIMEOUT_S, "it to be stopped")


Reached = Callable[[str, int, str], None]
"""Is told of a moment (`before`, `after`; `told` for a step that the user is told of), which time, and the step."""


def interrupt(number: signal.Signals, moment: str, time: int, name: str) -> None:
    """From here on, whoever first walks a step, tells of it, or asks the API server, is interrupted at this one.

    Once: a command whose session is in the background hears of the session's steps, and is a process of its own.
    """
    is_over = mmap.mmap(-1, 1)  # children have the same

    def reached(*where: object) -> None:
        if where == (moment, time, name) and not is_over[0]:
            is_over[0] = True
            os.kill(os.getpid(), number)

    instrument(reached)


def instrument(reached: Reached) -> None:
    """From here on, each step of whoever walks steps, tells of them, or asks the API server, is told to `reached`."""
    run_steps, request, begun = work.run_steps, Api.request, Counter[str]()
    make_told, told = StartStep.__init__, Counter[str]()

    async def at(what: str, run: Callable[[], Awaitable[Result]]) -> Result:
        begun[what] += 1
        time = begun[what]
        reached("before", time, what)
        result = await run()
        reached("after", time, what)
        return result

    async def walk_interrupted(steps: Iterable[work.Step], on_done: Callable[[str], None] = lambda _: None) -> None:
        await run_steps([work.Step(step.name, partial(at, step.name, step.run)) for step in steps], on_done)

    async def request_interrupted(api: Api, method: str, path: str, **options: Any) -> Json:
        place = "/".join(path.split("/")[-2:])
        return await at(f"{method} {place}", partial(request, api, method, path, **options))

    def make_interrupted(step: StartStep, *values: Any, **named: Any) -> None:
        make_told(step, *values, **named)
        told[step.name] += 1
        reached("told", told[step.name], step.name)

    work.run_steps = walk_interrupted
    Api.request = request_interrupted  # type: ignore[assignment, method-assign]  # the same, as far as callers go
    StartStep.__init__ = make_interrupted  # type: ignore[assignment, method-assign]


def become_ktpy(arguments: list[str]) -> None:
    """Run the command line. Imported now, so that all that walks steps finds the instrumented run_steps."""
    from ktpy.__main__ import main

    sys.argv = ["ktpy", *arguments]
    main()


if __name__ == "__main__":
    number, moment, time, name, *arguments = sys.argv[1:]
    interrupt(signal.Signals[number], moment, int(time), name)
    become_ktpy(arguments)
