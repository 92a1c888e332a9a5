"""`ktpy exchange`, `mesh` and `preview`, from nothing to ready to undone.

Every undo is registered before its change. What the laptop does for requests that reach it (probes, routes) is set up
first and goes last, so that requests which are under way while the service is given back are still served.
"""

import asyncio
import importlib
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from typing import Any

from ktpy.aio.background_task import background_task
from ktpy.cluster.names import new_session_id
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from ktpy.daemon import control_server, supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Record, Records
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import KtpyError, SessionLost
from ktpy.kube.client import Api
from ktpy.link.key import make_key
from ktpy.observe.events import Notice, Ready, Report, Step
from ktpy.serve import command
from ktpy.serve.exposure import Exposure, instead_of
from ktpy.sessions.options import InterceptOptions
from ktpy.sessions.plan import Part, Undertaking, facts, look_at
from ktpy.sessions.undo_killed import undo_killed
from ktpy.wire.route import Hello

OWNER_MAX = 64


def run(options: InterceptOptions, caller: Caller, report: Report) -> int:
    """Intercept, stay until told to leave, undo; returns the exit code. The last event reported is an Ended."""
    return supervision.run(_Intercept(options, caller, report), report)


def owner_of(caller: Caller) -> str:
    """Whom others see: `alice@laptop`."""
    return f"{caller.name}@{socket.gethostname()}"[:OWNER_MAX]


class _Over(Exception):
    """It ends as asked: by `ktpy leave`, or because the user's command has ended."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _Intercept:
    """One command. Its session in the cluster is another one when it comes back after others took it for dead."""

    def __init__(self, options: InterceptOptions, caller: Caller, report: Report) -> None:
        self.name = options.kind
        self.is_ready = False
        self._options = options
        self._caller = caller
        self._owner = owner_of(caller)
        self._report = report
        self._records = Records.of(caller)
        self._began_s = time.monotonic()
        self._ready, self._leave_requested = asyncio.Event(), asyncio.Event()
        self._facts: dict[str, Any] = facts(options) | {"owner": self._owner, "pid": os.getpid()}
        self._exposure: Exposure | None = None
        self._is_command_running = False

    @property
    def farewell(self) -> str:
        target = self._facts["target"]
        return f"Left; preview {target} is gone." if self.name == "preview" else f"Left; {target} is as before."

    def handles_signal(self, signal_number: int) -> bool:
        """While the user's command runs, Ctrl-C is for that."""
        return not (signal_number == signal.SIGINT and self._is_command_running)

    async def run(self) -> int:
        """Return when asked to leave, or with the exit code of the user's command."""
        options = self._options
        command.refuse_absent(options.command)
        async with AsyncExitStack() as undo:
            api = await Api.load(options.kubeconfig, options.context, options.namespace)
            undo.push_async_callback(api.close)
            await undo_killed(api, self._records, self._report)
            # The largest imports, while the API server answers.
            loading = asyncio.to_thread(importlib.import_module, "ktpy.serve.routes")
            undertaking, _ = await asyncio.gather(look_at(api, options, self._owner), loading)
            self._facts |= {
                "target": undertaking.target,
                "server": api.target.server,
                "context": api.target.context,
                "namespace": api.namespace,
            }
            self._step("cluster", f"{api.target.context} ({api.target.server}), namespace {api.namespace}")
            exposure = Exposure(undertaking.exposed, instead_of(options.kind, options.when_local_down), self._report)
            await exposure.look()
            for warning in undertaking.warnings + exposure.warnings(is_command_to_come=bool(options.command)):
                self._report(Notice(warning))
            self._exposure = exposure
            path = undo.enter_context(RuntimeDirectory.of(self._caller).intercept(new_session_id()))
            verbs: control_server.Verbs = {"status": self._status, "quit": self._request_leave}
            await undo.enter_async_context(control_server.serve(path, verbs))
            await undo.enter_async_context(background_task(exposure.watch(), "probe local ports"))
            ending = await undo.enter_async_context(background_task(self._until_told_to_end(), "until told to end"))
            while (exit_code := await self._take_part(api, undertaking, exposure, ending)) is None:
                self._report(Notice("The cluster had given this session up, as after a sleep; it takes part again."))
        return exit_code

    async def _take_part(
        self, api: Api, undertaking: Undertaking, exposure: Exposure, ending: "asyncio.Task[None]"
    ) -> int | None:
        """Be one session in the cluster, until told to end; None when others have taken it for dead."""
        from ktpy.serve.routes import Routes

        exit_code: int | None = None
        key, session = make_key(), new_session_id()
        part = undertaking.make(session, key.public_line, self._tell_pod)
        ports = tuple(exposure.local_ports)
        hello = Hello(session, self._owner, ports, self._options.match, self._options.when_local_down)
        record = Record(
            session,
            self.name,
            undertaking.target,
            api.namespace,
            api.target.server,
            api.target.context,
            self._options.kubeconfig,
        )
        self._facts["session"] = session
        try:
            async with AsyncExitStack() as undo:
                undo.enter_context(self._records.hold(record))
                routes = Routes(api, part.pods, key, hello, exposure, self._options.pod_timeout_s)
                routing = await undo.enter_async_context(background_task(routes.run(), "routes"))
                undo.push_async_callback(self._leave, part, record)
                async with asyncio.TaskGroup() as work:
                    work.create_task(_failure_of(ending), name="watch the end")
                    work.create_task(_failure_of(routing), name="watch routes")
                    work.create_task(part.lease.keep(self._tell_silence), name="renew the lease")
                    await part.enter(lambda name: self._step("gateway", name), routes.first)
                    self._stand()
                    work.create_task(part.guard(lambda text: self._report(Notice(text))), name="guard")
        except* _Over as over:
            exit_code = next(one.exit_code for one in _leaves(over) if isinstance(one, _Over))
        except* SessionLost:
            if part.lease.silence_s < EXPIRED_AFTER_S:
                raise  # we were heard all the time, so somebody has meant it
        return exit_code

    def _stand(self) -> None:
        self._ready.set()
        if not self.is_ready:
            self.is_ready = True
            self._report(Ready(self._status()))

    async def _leave(self, part: Part, record: Record) -> None:
        await part.leave()
        self._records.forget(record)

    async def _until_told_to_end(self) -> None:
        """Raise _Over when it is asked to leave, and when the user's command has run, as soon as it may."""
        async with asyncio.TaskGroup() as ends:
            if self._options.command:
                ends.create_task(self._run_command(), name="command")
            await self._leave_requested.wait()
            raise _Over(0)

    async def _run_command(self) -> None:
        await self._ready.wait()
        self._is_command_running = True
        try:
            exit_code = await command.run(self._options.command)
        finally:
            self._is_command_running = False
        raise _Over(exit_code)

    # --- what the user sees

    def _step(self, name: str, detail: str) -> None:
        self._report(Step(name, detail, time.monotonic() - self._began_s))

    def _tell_pod(self, progress: PodProgress) -> None:
        self._step("pod", str(progress))

    def _tell_silence(self, silence_s: float, error: KtpyError) -> None:
        self._report(Notice(f"The API server has not been reached for {silence_s:.0f} s: {error.message}"))

    def _status(self) -> dict[str, Any]:
        return {
            **self._facts,
            "state": "intercepted" if self.is_ready else "starting",
            "uptime_s": round(time.monotonic() - self._began_s, 1),
            "routes": self._exposure.routes if self._exposure else 0,
            "ports": self._exposure.ports() if self._exposure else [],
        }

    def _request_leave(self) -> dict[str, Any]:
        self._leave_requested.set()
        return {"ending": True}


async def _failure_of(task: "asyncio.Task[None]") -> None:
    """Raise what ends the task, without ending it when nobody wants to know any more."""
    await asyncio.shield(task)


def _leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for one in group.exceptions for leaf in _leaves(one)]
    return [group]
