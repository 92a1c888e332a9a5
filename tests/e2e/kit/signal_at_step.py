"""Runs ktpy's command line, and sends it a signal before or after a named step of its work in the cluster.

    python -m tests.e2e.kit.signal_at_step SIGKILL after 1 "redirect the service" exchange web --expose 3001:80

The signal comes as from outside, but at exactly that moment: the process is stopped, or gone, before anything else of
its happens. The number tells which time, for steps that entry and exit have in common. Instead of a step, a request may
be named: "PATCH services/web". The command line itself knows nothing of this.
"""

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


def interrupt(number: signal.Signals, moment: str, time: int, name: str) -> None:
    """From here on, whoever walks steps, or asks the API server, is interrupted at this one."""
    run_steps, request, begun = work.run_steps, Api.request, Counter[str]()

    async def at(what: str, run: Callable[[], Awaitable[Result]]) -> Result:
        begun[what] += 1
        is_it = what == name and begun[what] == time
        if is_it and moment == "before":
            os.kill(os.getpid(), number)
        result = await run()
        if is_it and moment == "after":
            os.kill(os.getpid(), number)
        return result

    async def walk_interrupted(steps: Iterable[work.Step], on_done: Callable[[str], None] = lambda _: None) -> None:
        await run_steps([work.Step(step.name, partial(at, step.name, step.run)) for step in steps], on_done)

    async def request_interrupted(api: Api, method: str, path: str, **options: Any) -> Json:
        place = "/".join(path.split("/")[-2:])
        return await at(f"{method} {place}", partial(request, api, method, path, **options))

    work.run_steps = walk_interrupted
    Api.request = request_interrupted  # type: ignore[assignment, method-assign]  # the same, as far as callers go


if __name__ == "__main__":
    number, moment, time, name, *arguments = sys.argv[1:]
    interrupt(signal.Signals[number], moment, int(time), name)
    from ktpy.__main__ import main  # now, so that all that walks steps finds the interrupted run_steps

    sys.argv = ["ktpy", *arguments]
    main()
