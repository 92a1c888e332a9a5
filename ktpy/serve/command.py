"""The user's own command, run while an intercept stands."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ktpy.errors import CommandAbsent

GRACE_S = 5.0
"""How long the command may take to end after each signal when ktpy ends."""


def refuse_absent(command: Sequence[str]) -> None:
    """Raise CommandAbsent before anything is changed in the cluster for a command that cannot run."""
    if command and shutil.which(command[0]) is None:
        raise CommandAbsent(f"There is no command {command[0]}; nothing was changed.")


class UserCommand:
    """A UserCommand may be empty: then there is none to run."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.is_running = False
        self.exit_code: int | None = None

    async def run(self, environment: Mapping[str, str], base: Mapping[str, str] = os.environ) -> int:
        """Run it to its end, as `run` does."""
        self.is_running = True
        try:
            self.exit_code = await run(self.words, environment, base)
        finally:
            self.is_running = False
        return self.exit_code


async def run(command: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str] = os.environ) -> int:
    """Run the command on ktpy's terminal and return its exit code, 128+N when signal N ended it.

    `environment` is added to `base`, ktpy's own. A cancelled call ends the command.
    """
    process = await asyncio.create_subprocess_exec(*command, env={**base, **environment})
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
                return
