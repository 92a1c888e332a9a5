"""A `connect` for one program, whose shadow pod wears a workload's clothes where the user names one."""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ktpy.cluster import rbac
from ktpy.cluster.names import new_session_id
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RUN, RuntimeDirectory
from ktpy.errors import ProgramAbsent, ProgramNotExecutable
from ktpy.kube.client import Api
from ktpy.observe.events import Notice, Report
from ktpy.sessions.connect import Connect
from ktpy.sessions.options import ConnectOptions, Launched, RunOptions
from ktpy.sessions.surroundings import PodSurroundings, Wardrobe, fetch_surroundings, open_wardrobe
from ktpy.sessions.tunnel import Tunnel

if TYPE_CHECKING:
    import asyncio

    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello


def refuse_unrunnable(command: Sequence[str]) -> None:
    """Raise ProgramAbsent or ProgramNotExecutable for what no shell could run either."""
    name = command[0]
    if shutil.which(name) is not None:
        return
    if "/" in name and Path(name).exists():
        what = "is a folder" if Path(name).is_dir() else "is not executable"
        raise ProgramNotExecutable(f"{name} {what}; nothing was changed.")
    raise ProgramAbsent(f"There is no program {name}; nothing was changed.")


class Dressed(Connect):
    """A user has any number of them to a cluster, each with a view of its own."""

    name = "run"

    def __init__(
        self, options: ConnectOptions, of_run: RunOptions, launched: Launched, caller: Caller, report: Report
    ) -> None:
        super().__init__(options, launched, caller, report)
        self._known = replace(self._known, kind=RUN)
        self._of_run = of_run
        if of_run.workload is not None:
            self._rights += rbac.RUN + (rbac.FROM_POD if of_run.workload.from_pod else ())
        self._id = new_session_id()
        self._wardrobe: Wardrobe | None = None

    @property
    def _does(self) -> str:
        return f"run {self._of_run.workload.target}" if self._of_run.workload is not None else "run"

    def _claim(self, server: str) -> AbstractContextManager[Path]:  # noqa: ARG002 - there may be several to a server
        return RuntimeDirectory.of(self._caller).session(RUN, self._id)

    async def _create_shadow(self, api: Api, undo: AsyncExitStack, work: "asyncio.TaskGroup") -> Tunnel:
        if self._of_run.workload is not None:
            self._wardrobe = await open_wardrobe(
                api,
                self._of_run.workload,
                self._options.image,
                with_files=True,
                access=self._of_run.claims,
            )
            overlay = self._wardrobe.overlay(self._options.pod_overlay)
            self._options = replace(self._options, pod_overlay=overlay)
        return await super()._create_shadow(api, undo, work)

    async def _fetch_surroundings(self, uplink: "Uplink[AgentHello]", wardrobe: Wardrobe) -> PodSurroundings:
        """Ask the pod, and tell which variables the program does not get."""
        surroundings = wardrobe.completed(await fetch_surroundings(uplink, wardrobe.clothes))
        if left_out := surroundings.left_out:
            names = ", ".join(left_out)
            self._report(Notice(f"{names}: left out, as meant for the workload's image; --env sets such a variable."))
        return surroundings
