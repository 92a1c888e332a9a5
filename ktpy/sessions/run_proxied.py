"""`ktpy run --mode proxy`: a program that heeds a proxy, with a pod's environment and its files in a folder.

It needs nothing that only Linux has, nor a right to make namespaces.
"""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RUN, RuntimeDirectory
from ktpy.observe.events import Notice, Report
from ktpy.observe.status import ConnectStatus
from ktpy.sessions.connect import Quit
from ktpy.sessions.dressed import Dressed, refuse_unrunnable
from ktpy.sessions.options import ConnectOptions, Launched, RunOptions
from ktpy.sessions.pod_files import kept_files, remarks

ROOT: Final = ("KTPY_ROOT", "TELEPRESENCE_ROOT")
"""These variables name the folder; the second is for what was written for Telepresence."""


def run(options: ConnectOptions, of_run: RunOptions, launched: Launched, caller: Caller, report: Report) -> int:
    """Run the program of `options`; return its exit code. The last event reported is an Ended.

    Raises ProgramAbsent and ProgramNotExecutable before anything is made.
    """
    refuse_unrunnable(options.command)
    return supervision.run(ProxiedRun(options, of_run, launched, caller, report), report)


class ProxiedRun(Dressed):
    """A ProxiedRun ends with its program."""

    async def _run_command(self, session: ConnectStatus) -> None:
        async with AsyncExitStack() as beside:
            environment = await self._become_pod(session.proxy.environment if session.proxy else {}, beside)
            await self._command.run(environment, base={})
        raise Quit

    async def _become_pod(self, proxied: Mapping[str, str], beside: AsyncExitStack) -> dict[str, str]:
        """Fill a folder with the pod's files; return the program's environment."""
        edits = self._of_run.edits
        if self._wardrobe is None or self._uplink is None:
            return edits.applied({**os.environ, **proxied})
        surroundings = await self._fetch_surroundings(self._uplink, self._wardrobe)
        mounts, root = self._wardrobe.clothes.mounts, ""
        folder = beside.enter_context(RuntimeDirectory.of(self._caller).files(RUN, self._id))
        files = await beside.enter_async_context(kept_files(self._uplink, mounts, folder, self._report))
        if files.arrived:
            root = str(folder)
            self._report(Notice(f"The pod's files are below $KTPY_ROOT ({root}), not at their own paths."))
        for sentence in remarks(mounts, files):
            self._report(Notice(sentence))
        of_files = dict.fromkeys(ROOT, root) | {"TELEPRESENCE_MOUNTS": ":".join(sorted(files.arrived))}
        return surroundings.environment_for(os.environ, edits, {**proxied, **of_files})
