"""A command of the laptop that `ktpy up` begins, and `ktpy down` ends, with whatever it has started.

It leads a process group. A session watches over it, and says how it has ended.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.cluster.names import new_session_id
from ktpy.daemon import control_server, process_group, supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import COMMAND, RuntimeDirectory
from ktpy.errors import CommandAbsent, CommandEnded
from ktpy.frozen import dataclass
from ktpy.observe.codec import to_json
from ktpy.observe.events import Ready, Report
from ktpy.observe.status import CommandStatus, UpEntry
from ktpy.serve import command

SETTLES_S: Final = 0.5
"""One that ends sooner has not come up."""


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """The options of a command."""

    name: str
    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    """Beside ktpy's own."""
    up: UpEntry


def run(options: CommandOptions, caller: Caller, report: Report) -> int:
    """Run the command until it ends or is told to; return the exit code. The last event reported is an Ended."""
    return supervision.run(LocalCommand(options, caller, report), report)


class LocalCommand:
    """A LocalCommand is one that runs."""

    name = COMMAND
    ends_well = True

    def __init__(self, options: CommandOptions, caller: Caller, report: Report) -> None:
        self._options = options
        self._runtime = RuntimeDirectory.of(caller)
        self._report = report
        self._began_s = time.monotonic()
        self._quit = asyncio.Event()
        self._ended: int | None = None

    @property
    def farewell(self) -> str:
        how = "was ended" if self._ended is None else f"ended with {self._ended}"
        return f"{self._options.name} {how}."

    def handles_signal(self, _signal_number: int) -> bool:
        return True

    async def run(self) -> int:
        """Return when it was told to end, or the command has ended well. Raises CommandAbsent and CommandEnded."""
        options = self._options
        try:
            os.chdir(options.folder)
        except OSError as error:
            raise CommandAbsent(f"{options.name} cannot run in {options.folder} ({error.strerror}).") from error
        command.refuse_absent(options.words)
        with self._runtime.session(COMMAND, new_session_id()) as path:
            process = await self._start()
            try:
                process_group.record(path, process.pid)
                verbs = {"status": lambda: to_json(self._status(process.pid)), "quit": self._request_quit}
                async with control_server.serve(path, verbs):
                    await self._until_over(process)
            finally:
                await asyncio.to_thread(process_group.end_recorded, path)
        if self._ended:
            raise CommandEnded(f"{options.name} has ended with {self._ended}.")
        return 0

    async def _start(self) -> asyncio.subprocess.Process:
        words, environment = self._options.words, {**os.environ, **self._options.environment}
        try:
            return await asyncio.create_subprocess_exec(*words, env=environment, start_new_session=True)
        except OSError as error:
            raise CommandAbsent(f"{words[0]} cannot be executed ({error.strerror}).") from error

    async def _until_over(self, process: asyncio.subprocess.Process) -> None:
        async with (
            background_task(process.wait(), "command") as running,
            background_task(self._quit.wait(), "quit requested") as leaving,
            background_task(self._tell_ready(process.pid), "tell that it stands"),
        ):
            if await first_of(running, leaving) is running:
                code = running.result()
                self._ended = code if code >= 0 else 128 - code

    async def _tell_ready(self, pid: int) -> None:
        await asyncio.sleep(SETTLES_S)
        self._report(Ready(self._status(pid)))

    def _status(self, pid: int) -> CommandStatus:
        return CommandStatus(
            reference=self._options.name,
            words=self._options.words,
            pid=os.getpid(),
            process=pid,
            uptime_s=round(time.monotonic() - self._began_s, 1),
            up=self._options.up,
        )

    def _request_quit(self) -> dict[str, Any]:
        self._quit.set()
        return {"ending": True}
