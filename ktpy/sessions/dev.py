"""`ktpy dev start`: a workload is developed in the cluster, until its terminal or program ends; then all is as before.

Every undo is registered before its change. The program in the pod serves until the original's pods are back.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster import rbac
from ktpy.cluster.changes.dev import DevChange
from ktpy.cluster.changes.dev_manifest import DevPlan
from ktpy.cluster.changes.dev_plan import prepare
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.missing_rights import naming_all_missing
from ktpy.cluster.names import new_session_id
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from ktpy.daemon import control_server, supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Record, Records
from ktpy.daemon.runtime import DEV, RuntimeDirectory
from ktpy.errors import KtpyError, LinkLost, SessionLost
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NotFound
from ktpy.link.key import make_key
from ktpy.link.reverse_ports import ReversePorts
from ktpy.link.uplink import Uplink
from ktpy.observe.codec import to_json
from ktpy.observe.events import Notice, Report, StartStep
from ktpy.observe.status import DevStatus, SyncStatus
from ktpy.sessions.dev_config_in_cluster import texts
from ktpy.sessions.dev_configured import configured
from ktpy.sessions.dev_link import connected, connection_keeper, dev_uplink, held_program
from ktpy.sessions.dev_ports import Listening, forwarded, listening
from ktpy.sessions.options import DevOptions
from ktpy.sessions.undo_killed import undo_killed
from ktpy.wire.dev import Exec
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.link.keeper import Keeper
    from ktpy.sync.engine import Synchronizer


def run(options: DevOptions, caller: Caller, report: Report) -> int:
    """Develop the workload; return the exit code. The last event reported is an Ended.

    Raises UsageError for a configuration that cannot be understood, and LocalPortTaken.
    """
    wanted = configured(options, report, texts)
    with listening(wanted.forward) as listeners:
        return supervision.run(Dev(wanted, caller, report, listeners), report)


class Dev:
    """A Dev is one `ktpy dev start`."""

    name = DEV

    def __init__(self, options: DevOptions, caller: Caller, report: Report, listeners: Listening) -> None:
        self._options, self._report, self._listeners, self._caller = options, report, listeners, caller
        self._owner, self._records = caller.owner, Records.of(caller)
        self._began_s = time.monotonic()
        self._is_ready = self._is_ended_by_others = False
        asked = Exec(options.command, options.shell, options.work_dir, options.reloads)
        self._program = held_program(asked, report, outlives_run=True)  # nodes may send requests until the pod ends
        self._workload = options.target
        self._sync: Synchronizer | None = None
        self._syncs = asyncio.Event()

    @property
    def ends_well(self) -> bool:
        return self._is_ready and not self._options.command

    @property
    def farewell(self) -> str:
        if not self._is_ready:
            return supervision.NOTHING_CHANGED if self._workload == self._options.target else "Interrupted; all undone."
        why = "Ended by others" if self._is_ended_by_others else "Left"
        return f"{why}; {self._workload} is as before."

    def handles_signal(self, signal_number: int) -> bool:
        """Return whether a signal ends ktpy: Ctrl-C is for the user's command while that runs."""
        return not (signal_number == signal.SIGINT and self._options.command and self._program.interrupt())

    async def run(self) -> int:
        """Return the exit code of the program or shell."""
        options, key = self._options, make_key()
        async with AsyncExitStack() as undo:
            api = await Api.load(options.kubeconfig, options.context, options.namespace)
            undo.push_async_callback(api.close)
            rights = rbac.DEV + (rbac.DEV_VOLUMES if options.persist else ())
            await undo.enter_async_context(naming_all_missing(api, rights))
            await undo_killed(api, self._records, self._report)
            plan = await prepare(api, options, SessionIdentity(new_session_id(), self._owner, key.public_line))
            self._step("cluster", f"{api.target.context} ({api.target.server}), namespace {api.namespace}")
            for warning in plan.warnings:
                self._report(Notice(warning))
            self._workload = str(plan.reference)
            path = undo.enter_context(RuntimeDirectory.of(self._caller).session(DEV, plan.session))
            verbs: control_server.Verbs = {"status": lambda: to_json(self._status(api, plan))}
            await undo.enter_async_context(
                control_server.serve(path, verbs, {"sync": lambda _: self._catch_up(api, plan)})
            )
            change = DevChange(api, plan, options.pod_timeout_s)
            pod: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
            reverse = ReversePorts({one.port: one.local for one in options.reverse})
            keeper = connection_keeper(self._report) if self._listeners else None
            uplink = dev_uplink(api, lambda: asyncio.shield(pod), plan.container, key, reverse.hold, keeper)
            undo.callback(uplink.close)
            holding = await undo.enter_async_context(background_task(uplink.run(), "hold uplink"))
            working = await undo.enter_async_context(
                background_task(self._work(asyncio.shield(pod), uplink, keeper, reverse.stand), "work in there")
            )
            record = self._record(api, plan)
            undo.enter_context(self._records.hold(record))
            undo.push_async_callback(uninterrupted, self._leave, change, record)
            renewing = await undo.enter_async_context(background_task(change.lease.keep(), "renew the lease"))
            pod.set_result(
                await change.enter(lambda name: self._step("dev", name), lambda at: self._step("pod", str(at)))
            )
            taking = await undo.enter_async_context(background_task(self._take_over(change), "take over"))
            try:
                return (await self._until_over(working, holding, renewing, taking)).result()
            except (SessionLost, LinkLost, ConnectionAbortedError) as lost:
                if not await self._is_taken_away(api, change, lost):
                    raise
                self._is_ended_by_others = True
                return 0
        raise AssertionError

    async def _until_over(
        self,
        working: "asyncio.Task[int]",
        holding: "asyncio.Task[None]",
        renewing: "asyncio.Task[None]",
        taking: "asyncio.Task[None]",
    ) -> "asyncio.Task[int]":
        """Wait for the end of the work; raise what else ends the session."""
        over = await first_of(holding, renewing, working, taking)
        if over is taking:
            over.result()
            over = await first_of(holding, renewing, working)
        if over is not working:
            over.result()
            raise LinkLost("The link to the dev pod was closed.")
        return working

    async def _work(
        self, pod: Awaitable[Json], uplink: Uplink[AgentHello], keeper: "Keeper | None", reverse: asyncio.Event
    ) -> int:
        await pod
        await connected(uplink)
        self._is_ready = True
        async with AsyncExitStack() as beside:
            for line in await beside.enter_async_context(forwarded(self._listeners, keeper or uplink)):
                self._step("forward", line)
            await reverse.wait()
            for one in self._options.reverse:
                self._step("reverse", f"port {one.port} of the dev container is port {one.local} of this laptop")
            if self._options.expose:
                from ktpy.sessions.dev_share import share  # most do without

                await beside.enter_async_context(
                    share(self._options, self._workload, uplink, self._caller, self._report)
                )
            if self._options.sync is None:
                return await self._run_program(uplink)
            from ktpy.sessions.dev_sync import synced_folder  # most do without

            syncing = await beside.enter_async_context(
                synced_folder(uplink, self._options.sync, self._report, self._begin_to_sync)
            )
            self._step("sync", f"{self._options.sync.local} is in step with {self._options.sync.remote}")
            running = await beside.enter_async_context(background_task(self._run_program(uplink), "program"))
            if await first_of(running, syncing) is syncing:
                syncing.result()
            code = await running
            if self._sync is not None and self._options.sync.is_two_way:
                await self._bring_back(self._sync, syncing)
            return code

    async def _bring_back(self, sync: "Synchronizer", syncing: "asyncio.Task[None]") -> None:
        """Wait until what the program has written last is on the laptop: its container goes now."""
        async with background_task(sync.catch_up(with_container=True), "bring back what was written last") as last:
            if await first_of(last, syncing) is syncing:
                syncing.result()
            await last

    def _begin_to_sync(self, sync: "Synchronizer") -> None:
        self._sync = sync
        self._syncs.set()

    async def _catch_up(self, api: Api, plan: DevPlan) -> AsyncGenerator[control_server.Answer]:
        """Look through both folders of --sync, and say how it is before, and once they are in step."""
        yield to_json(self._status(api, plan))
        await self._syncs.wait()
        if self._sync is not None:
            await self._sync.catch_up(with_container=True)
        yield to_json(self._status(api, plan))

    def _status(self, api: Api, plan: DevPlan) -> DevStatus:
        sync = None
        if (folder := self._options.sync) is not None:
            sync = self._sync.status if self._sync is not None else SyncStatus(is_two_way=folder.is_two_way)
            sync = replace(sync, local=str(Path(folder.local).resolve()), remote=folder.remote)
        return DevStatus(
            reference=str(plan.reference),
            session=plan.session,
            pid=os.getpid(),
            server=api.target.server,
            context=api.target.context,
            namespace=api.namespace,
            state="ready" if self._is_ready else "starting",
            uptime_s=round(time.monotonic() - self._began_s, 1),
            sync=sync,
        )

    async def _run_program(self, uplink: Uplink[AgentHello]) -> int:
        if not (self._options.command or sys.stdin.isatty()):
            self._step("dev", f"the dev container runs; `ktpy dev terminal {self._workload}` opens a terminal there")
            await asyncio.Event().wait()
        return await self._program.run(uplink)

    async def _take_over(self, change: DevChange) -> None:
        """Switch the original off once the program in the dev pod listens."""
        if change.replaces:
            await change.pod.until_ready()
            if await change.take_over():
                self._step("dev", f"{self._workload} is switched off: its requests come to the dev pod")

    async def _is_taken_away(self, api: Api, change: DevChange, lost: Exception) -> bool:
        """Whether somebody has ended the session on purpose: its dev pod or its Lease is gone, though it was heard."""
        if isinstance(lost, SessionLost):
            return change.lease.silence_s < EXPIRED_AFTER_S
        try:
            await api.request("GET", change.trace.clone_path)
        except NotFound:
            return True
        except KtpyError:
            return False
        return False

    async def _leave(self, change: DevChange, record: Record) -> None:
        if change.may_exist:
            self._step("end", f"giving {self._workload} back ...")
        await change.leave(lambda name: self._step("end", name))
        self._records.forget(record)

    def _record(self, api: Api, plan: DevPlan) -> Record:
        target = api.target
        return Record(
            plan.session,
            self.name,
            str(plan.reference),
            api.namespace,
            target.server,
            target.context,
            self._options.kubeconfig,
        )

    def _step(self, name: str, detail: str) -> None:
        self._report(StartStep(name, detail, round(time.monotonic() - self._began_s, 3)))
