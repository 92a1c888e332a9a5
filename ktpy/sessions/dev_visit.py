"""`ktpy dev terminal` and `dev run`: a terminal or a program in a dev container that stands, whoever has started it."""

import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.cluster import rbac
from ktpy.cluster.changes import dev_found
from ktpy.cluster.changes.dev_found import DevSession
from ktpy.cluster.changes.dev_pod import DevPod, let_in
from ktpy.cluster.missing_rights import naming_all_missing
from ktpy.cluster.names import new_session_id
from ktpy.cluster.service.reference import Reference
from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller
from ktpy.errors import InterceptAbsent, LinkLost, TargetAmbiguous
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.link.held_program import HeldProgram
from ktpy.link.key import make_key
from ktpy.link.uplink import Uplink
from ktpy.observe.events import Notice, Report
from ktpy.sessions.dev_link import connected, connection_keeper, dev_uplink, held_program
from ktpy.sessions.dev_ports import Listening, forwarded
from ktpy.sessions.once import ClusterRef
from ktpy.wire import dev
from ktpy.wire.dev import Exec
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.link.keeper import Keeper

POD_TIMEOUT_S = 30.0


def run(
    place: ClusterRef,
    target: str,
    asked: Exec,
    caller: Caller,
    report: Report,
    listeners: Listening = (),
    notes: Iterable[str] = (),
) -> int:
    """Run what is asked for in the dev container of a workload; return its exit code.

    Meanwhile the listeners lead there. `notes` are told once they do.
    """
    return supervision.run(_Visit(place, target, asked, caller.owner, report, listeners, notes), report)


def logs(place: ClusterRef, target: str, caller: Caller, report: Report, *, follows: bool) -> int:
    """Print what programs in the dev container of a workload have printed; return 0, unless that is interrupted."""
    words = (dev.PROGRAM, dev.LOGS, dev.RUN_DIR, *(["-f"] if follows else []))
    return run(place, target, Exec(words, is_logged=False), caller, report)


def chosen(found: list[DevSession], target: str, owner: str) -> DevSession:
    """Return the session that develops the workload which the user means; of several, the user's own.

    Raises InterceptAbsent and TargetAmbiguous.
    """
    meant = [one for one in found if is_meant(one, target)]
    if not meant:
        hint = f"Developed are: {', '.join(sorted({one.workload for one in found}))}." if found else None
        raise InterceptAbsent(f"Nobody develops {target}.", hint=hint or f"ktpy dev start {target} begins.")
    own = [one for one in meant if one.owner == owner] or meant
    if len(own) > 1:
        names = ", ".join(f"{one.workload} by {one.owner} ({one.id})" for one in own)
        raise TargetAmbiguous(f"Several sessions develop {target}: {names}.", hint="Name one by its id.")
    return own[0]


def is_meant(session: DevSession, target: str) -> bool:
    """Tell whether the user means this session: by its id, its workload's name, or KIND/NAME."""
    return target == session.id or is_of(session.workload, target)


def is_of(workload: str, target: str) -> bool:
    """Tell whether the user means this workload, KIND/NAME: by that, or by its name."""
    reference, own = Reference.parse(target), Reference.parse(workload)
    return reference == own or (reference.kind == "service" and reference.name == own.name)


class _Visit:
    name = "dev"
    ends_well = False
    farewell = "Interrupted; the dev container runs on."

    def __init__(
        self,
        place: ClusterRef,
        target: str,
        asked: Exec,
        owner: str,
        report: Report,
        listeners: Listening,
        notes: Iterable[str],
    ) -> None:
        self._place, self._target, self._owner = place, target, owner
        self._report, self._listeners, self._notes = report, listeners, notes
        self._asked = asked
        self._program: HeldProgram | None = None

    def handles_signal(self, signal_number: int) -> bool:
        program = self._program
        return not (signal_number == signal.SIGINT and program is not None and program.interrupt())

    async def run(self) -> int:
        key, place = make_key(), self._place
        async with AsyncExitStack() as undo:
            api = await Api.load(place.kubeconfig, place.context, place.namespace)
            undo.push_async_callback(api.close)
            await undo.enter_async_context(naming_all_missing(api, rbac.DEV))
            session = chosen(await dev_found.find(api, api.namespace), self._target, self._owner)
            self._program = program = held_program(
                self._asked._replace(folder=self._asked.folder or session.folder), self._report
            )
            pod = await DevPod(api, session.id, session.clone, session.container).running(POD_TIMEOUT_S, lambda _: None)
            await undo.enter_async_context(let_in(api, pod, new_session_id(), key.public_line))

            async def find_pod() -> Json:
                return pod

            keeper = connection_keeper(self._report) if self._listeners else None
            uplink = dev_uplink(api, find_pod, session.container, key, keeper=keeper)
            undo.callback(uplink.close)
            holding = await undo.enter_async_context(background_task(uplink.run(), "hold uplink"))
            working = await undo.enter_async_context(
                background_task(self._work(program, uplink, keeper or uplink), "work")
            )
            if await first_of(holding, working) is holding:
                holding.result()
                raise LinkLost("The link to the dev pod was closed.")
            return working.result()
        raise AssertionError

    async def _work(self, program: HeldProgram, uplink: Uplink[AgentHello], way: "Uplink[AgentHello] | Keeper") -> int:
        await connected(uplink)
        async with forwarded(self._listeners, way) as lines:
            for line in (*lines, *self._notes):
                self._report(Notice(line))
            return await program.run(uplink)
