"""Runs `ktpy exchange`, `mesh`, `tap` and `preview`, from nothing to ready to undone.

Every undo is registered before its change. What the laptop does for requests that reach it (probes, routes) is set up
first and goes last, so that requests which are under way while the Service is given back are still served.
"""

import asyncio
import logging
import os
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from functools import cache
from typing import TYPE_CHECKING

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.cluster import rbac
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.changes.registry import kind_of
from ktpy.cluster.missing_rights import naming_all_missing
from ktpy.cluster.names import new_session_id
from ktpy.cluster.pods import renewal
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service.sole import sole_addresses
from ktpy.daemon import control_server, supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Record, Records
from ktpy.daemon.runtime import RuntimeDirectory, make_private
from ktpy.daemon.time_limit import TimeLimit
from ktpy.errors import KtpyError, RouteTaken
from ktpy.kube.client import Api
from ktpy.kube.rights import Rule
from ktpy.link.key import make_key
from ktpy.observe.codec import to_json
from ktpy.observe.events import Notice, Ready, Report, StartStep
from ktpy.observe.status import InterceptStatus, begun_by
from ktpy.serve import command
from ktpy.serve.exposure import Exposure
from ktpy.serve.local_port import LocalPort
from ktpy.serve.routes import Routes
from ktpy.sessions.options import WAIT, WAIT_S, InterceptOptions
from ktpy.sessions.participation import Callbacks, Participation
from ktpy.sessions.undo_killed import undo_killed
from ktpy.wire.route import ORIGIN, Match, RouteHello, RouteRequest, ServicePort

if TYPE_CHECKING:
    from ktpy.serve.shortcuts import OfferedShortcuts
    from ktpy.serve.watching import Watching

logger = logging.getLogger(__name__)

SILENT_S = 10.0
"""Without a request for so long, the user is told what may be why."""


def _rights_for_hosts(options: InterceptOptions) -> list[Rule]:
    asked = ((rbac.INGRESSES, options.ingress_host), (rbac.HTTP_ROUTES, options.gateway_route_host))
    return [rule for rule, host in asked if host is not None]


def run(options: InterceptOptions, caller: Caller, report: Report) -> int:
    """Intercept, stay until told to leave, undo; returns the exit code. The last event reported is an Ended."""
    session = Intercept(options, caller, report)
    return supervision.run(session, report, session.limit)


class Intercept:
    """An Intercept is one command. It is a new session in the cluster whenever others have taken it for dead."""

    def __init__(
        self,
        options: InterceptOptions,
        caller: Caller,
        report: Report,
        make_port: Callable[..., LocalPort] = LocalPort,
    ) -> None:
        """`make_port` makes a local TCP port, as LocalPort."""
        self.name = options.kind
        self._make_port = make_port
        self.is_ready = False
        self._options = options
        self._kind = kind_of(options.kind)
        self._caller = caller
        self._owner = caller.owner
        self._report = report
        self._records = Records.of(caller)
        self._began_s, self.limit = time.monotonic(), TimeLimit(options.for_s)
        self._ready, self._leave_requested = asyncio.Event(), asyncio.Event()
        self._target, self._namespace = options.target, ""
        self._session: str | None = None
        """The id of the session in the cluster; None before there is one."""
        self._command = command.UserCommand(options.command)
        self._http_ports: set[ServicePort] = set()
        self._is_leaving = False
        self._shortcuts: OfferedShortcuts | None = None
        self._is_in_use = False
        """Whether others go on intercepting the Service."""

    @property
    def farewell(self) -> str:
        told = self._kind.farewell.format(target=self._target)
        if self._is_in_use:
            told = f"Left; others intercept {self._target} still, or keep its gateway."
        if self._leave_requested.is_set():
            return told.replace("Left", "Left by ktpy leave", 1)
        if self._command.exit_code is not None:
            return told.replace("Left", f"{self._command.words[0]} ended with {self._command.exit_code}", 1)
        if not self._session:
            return supervision.NOTHING_CHANGED
        return told if self.is_ready else told.replace("Left", "Interrupted", 1)

    @property
    def ends_well(self) -> bool:
        return self.is_ready and not self._command.is_running

    def handles_signal(self, signal_number: int) -> bool:
        """Return whether ktpy handles the signal: while the user's command runs, Ctrl-C is for that."""
        return not (signal_number == signal.SIGINT and self._command.is_running)

    async def run(self) -> int:
        """Return when asked to leave, or with the exit code of the user's command."""
        options = self._options
        command.refuse_absent(options.command)
        async with AsyncExitStack() as undo:
            api = await Api.load(options.kubeconfig, options.context, options.namespace)
            undo.push_async_callback(api.close)
            await undo.enter_async_context(naming_all_missing(api, (*rbac.INTERCEPT, *_rights_for_hosts(options))))
            plan = await self._prepare(api)
            exposure = await self._look_at_local_ports(plan)
            path = undo.enter_context(RuntimeDirectory.of(self._caller).intercept(new_session_id()))
            verbs: control_server.Verbs = {
                "status": lambda: to_json(self._status(api, exposure)),
                "quit": self._request_leave,
            }
            await undo.enter_async_context(control_server.serve(path, verbs, self._streams(exposure)))
            await undo.enter_async_context(background_task(exposure.watch(), "probe local ports"))
            await undo.enter_async_context(background_task(self._tell_silence_of(exposure), "tell what passes"))
            await undo.enter_async_context(background_task(self._move_clients(api, plan), "move clients"))
            offering = self._offer_shortcuts(api, plan, exposure)
            await undo.enter_async_context(background_task(offering, "offer shortcuts"))
            ending = await undo.enter_async_context(background_task(self._until_told_to_end(), "until told to end"))
            try:
                while (exit_code := await self._participation(api, plan, exposure).run(ending)) is None:
                    self._report(
                        Notice("The cluster had given this session up, as after a sleep; it takes part again.")
                    )
            except RouteTaken as taken:
                if f"by {self._owner} already" in taken.message:
                    raise taken.with_hint(f"That is you, on this laptop: ktpy leave {self._target} ends it.") from taken
                raise
        return exit_code

    async def _prepare(self, api: Api) -> InterceptPlan:
        await undo_killed(api, self._records, self._report)
        plan = await self._kind.prepare(api, self._options)
        self._target, self._namespace = plan.interceptee.name, api.namespace
        self._http_ports = {one.service_port for one in plan.ports if one.is_http}
        self._step("cluster", f"{api.target.context} ({api.target.server}), namespace {api.namespace}")
        return plan

    async def _look_at_local_ports(self, plan: InterceptPlan) -> Exposure:
        patience_s = WAIT_S if self._options.when_local_down == WAIT else 0.0
        instead = self._kind.when_local_down(self._options)
        exposure = Exposure(plan.ports, instead, self._report, patience_s, make_port=self._make_port)
        await exposure.look()
        for warning in [*plan.warnings, *exposure.warnings(is_command_to_come=bool(self._options.command))]:
            self._report(Notice(warning))
        return exposure

    def _participation(self, api: Api, plan: InterceptPlan, exposure: Exposure) -> Participation:
        options, target = self._options, api.target
        key = make_key()
        session = SessionIdentity(new_session_id(), self._owner, key.public_line)
        self._session = session.id
        change = self._kind.change(api, plan, session, self._tell_pod)
        # Here requests wait; what becomes of them then is the gateway's affair.
        when_down = ORIGIN if options.when_local_down == WAIT else options.when_local_down
        requests = (
            RouteRequest(port.number, options.match, when_down, port.protocol, options.copied_percent)
            for port in exposure.local_ports
        )
        hello = RouteHello(session.id, self._owner, tuple(requests))
        record = Record(
            session.id, self.name, self._target, api.namespace, target.server, target.context, options.kubeconfig
        )

        def step(name: str) -> None:
            self._is_in_use = self._is_in_use and name != "restore the service"
            self._step("gateway", name)

        def leaving() -> None:
            self._is_leaving = True
            if self._shortcuts:
                self._shortcuts.offer(())
            self._is_in_use = self.is_ready and not self._kind.owns_service
            self._step("end", f"{self._kind.undoing.format(target=self._target)} ...")

        callbacks = Callbacks(
            step=step,
            notice=lambda text: self._report(Notice(text)),
            silence=self._tell_silence,
            standing=lambda: self._stand(api, exposure),
            leaving=leaving,
            left=lambda: self._records.forget(record),
        )
        routes = Routes(api, change.pods, key, hello, exposure, options.pod_timeout_s)
        return Participation(change, routes, self._records.hold(record), callbacks)

    def _stand(self, api: Api, exposure: Exposure) -> None:
        self._is_leaving = False
        self._ready.set()
        if not self.is_ready:
            self.is_ready = True
            self._report(Ready(self._status(api, exposure)))

    async def _until_told_to_end(self) -> int:
        async with (
            background_task(self._leave_requested.wait(), "leave requested") as leaving,
            background_task(self._run_command(), "command") as running,
        ):
            over = await first_of(leaving, running)
        return 0 if over is leaving else running.result()

    async def _run_command(self) -> int:
        """Run the user's command once the intercept stands; returns its exit code. Without one it never returns."""
        await self._ready.wait()
        if not self._options.command:
            await asyncio.Event().wait()
        return await self._command.run(self._environment())

    def _environment(self) -> dict[str, str]:
        """What tells the user's command what it serves."""
        return {
            "KTPY_SESSION": self._session or "",
            "KTPY_SERVICE": self._target,
            "KTPY_NAMESPACE": self._namespace,
        }

    # --- what the user sees

    def _step(self, name: str, detail: str) -> None:
        self._report(StartStep(name, detail, round(time.monotonic() - self._began_s, 3)))

    def _tell_pod(self, progress: PodProgress) -> None:
        self._step("pod", str(progress))

    def _tell_silence(self, silence_s: float, error: KtpyError) -> None:
        self._report(Notice(f"The API server has not been reached for {silence_s:.0f} s: {error.message}"))

    async def _move_clients(self, api: Api, plan: InterceptPlan) -> None:
        await self._ready.wait()
        if self._options.move_clients:
            try:
                await renewal.renew(api, self._target, plan.selector, lambda told: self._step("clients", told))
            except KtpyError as error:
                self._report(Notice(error.message))

    async def _tell_silence_of(self, exposure: Exposure) -> None:
        """Tell once why no request has come, where original pods may have them."""
        await self._ready.wait()
        await asyncio.sleep(SILENT_S)
        match = str(self._options.match) if self._options.match is not None else None
        if not (self._kind.owns_service or self._is_leaving) and (sentence := exposure.silence(match)):
            self._report(Notice(sentence))

    async def _offer_shortcuts(self, api: Api, plan: InterceptPlan, exposure: Exposure) -> None:
        """Offer what begins on this laptop the way past the cluster, where all requests come here."""
        await self._ready.wait()
        if self._options.match is not None or self._options.copied_percent is not None:
            return
        from ktpy.serve.shortcuts import OfferedShortcuts  # brings SSH, which is here now

        folder = RuntimeDirectory.of(self._caller).shortcuts
        self._shortcuts = shortcuts = OfferedShortcuts(folder, api.target.server, exposure.local_ports)
        known = sole_addresses(api, plan.interceptee, lambda: self._session, owns_service=self._kind.owns_service)
        try:
            make_private(folder)
            async with aclosing(known) as changes:
                async for addresses in changes:
                    shortcuts.offer(() if self._is_leaving else addresses)
        except KtpyError as error:
            logger.info("nothing is led past the cluster any more: %s", error)
        finally:
            shortcuts.offer(())

    def _status(self, api: Api, exposure: Exposure) -> InterceptStatus:
        options = self._options
        return InterceptStatus(
            kind=options.kind,
            reference=options.target,
            target=self._target,
            match=options.match.document() if options.match is not None else None,
            match_words=str(options.match) if options.match is not None else None,
            copied_percent=options.copied_percent,
            when_local_down=options.when_local_down,
            owner=self._owner,
            pid=os.getpid(),
            server=api.target.server,
            context=api.target.context,
            namespace=api.namespace,
            session=self._session,
            state="intercepted" if self.is_ready else "starting",
            uptime_s=round(time.monotonic() - self._began_s, 1),
            ends_in_s=self.limit.left_s,
            routes=exposure.routes,
            ports=exposure.ports(),
            hosts=options.hosts,
            try_command=self._try_command(api, exposure),
            up=begun_by(),
        )

    def _try_command(self, api: Api, exposure: Exposure) -> str | None:
        match = self._options.match or Match()
        port = next((port.number for port in exposure.local_ports if port in self._http_ports), None)
        is_drawn = (self._options.copied_percent or 100) < 100
        if port is None or is_drawn or any(header.is_regex for header in match.headers):
            return None
        host = f"{self._target}.{api.namespace}" + (f":{port}" if port != 80 else "")
        headers = [f"-H {shlex.quote(str(header))}" for header in match.headers]
        return " ".join(["curl", *headers, f"http://{host}{match.path_prefix or '/'}"])

    def _streams(self, exposure: Exposure) -> control_server.Streams:
        """Return what `ktpy watch` asks for; what reads HTTP is loaded when it does."""

        @cache
        def watching() -> "Watching":
            from ktpy.inspect.events import WatchBegun
            from ktpy.serve.watching import Watching

            match = self._options.match
            why = f"requests with {match}" if match is not None else "every request"
            if self._options.copied_percent is not None:
                why = f"copies of {self._options.copied_percent} % of {why}"

            def begun(open_connections: int) -> WatchBegun:
                place = self._options.kind, self._target, self._namespace
                return WatchBegun(*place, self._session, why, open_connections)

            return Watching(exposure.local_ports, begun)

        return {
            "watch": lambda request: watching().stream(request),
            "replay": lambda request: watching().replay(request),
        }

    def _request_leave(self) -> dict[str, bool]:
        self._leave_requested.set()
        return {"ending": True}
