"""`ktpy connect`: its start in stages, what keeps it up, and its undo.

Stages run side by side where they can: the helper starts while the kubeconfig is read; the pod starts while ranges are
discovered, names are watched and the TUN is made. Every undo is registered before its change, and whatever ends the
session unwinds the same two stacks.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ktpy import __version__
from ktpy.capture.spec import Carrier, Front, Launched
from ktpy.cluster import rbac
from ktpy.cluster.missing_rights import naming_all_missing
from ktpy.cluster.pods.shadow import Shadow
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.cluster.service.network_policies import warnings_for_shadow
from ktpy.daemon import control_server, supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.parent import parent
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.daemon.supervision import NOTHING_CHANGED
from ktpy.daemon.time_limit import TimeLimit
from ktpy.errors import AlreadyConnected, KtpyError
from ktpy.kube.client import Api
from ktpy.kube.rights import Rule
from ktpy.observe.codec import to_json
from ktpy.observe.counters import CounterReaders
from ktpy.observe.events import Notice, Ready, Report, StartStep
from ktpy.observe.status import ConnectStatus, TrafficBytes, begun_by
from ktpy.observe.trace import stage
from ktpy.serve.command import UserCommand, refuse_absent
from ktpy.sessions.options import ConnectOptions
from ktpy.sessions.outages import Outages
from ktpy.sessions.packets import told_packets
from ktpy.sessions.put_right import put_right
from ktpy.sessions.routing import Routing
from ktpy.sessions.running import already, connected_to
from ktpy.sessions.tunnel import Tunnel
from ktpy.sessions.zone_feed import feed_zone, try_command
from ktpy.wire.version import version_difference

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial
    from ktpy.dns.zone import Zone
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

NOT_STOPPED = "Ctrl-Z is ignored: what uses the cluster would hang. `ktpy connect --detach` runs in the background."
NO_DATAGRAMS = (
    "The agent in the pod (of ktpy {}) carries TCP, but neither UDP nor ping, which are refused. "
    f"Use the image of ktpy {__version__}, see --image."
)


def run(options: ConnectOptions, launched: Launched, caller: Caller, report: Report) -> int:
    """Connect, stay until told to stop, undo; return the exit code. The last event reported is an Ended."""
    session = Connect(options, launched, caller, report)
    return supervision.run(session, report, session.limit)


class Quit(Exception):
    """`ktpy quit` asked the session to end."""


class Connect:
    """A Connect is one session. Its two undo stacks unwind the laptop first, then the cluster."""

    name = "connect"
    ended_by = "ktpy quit"
    """The command that ends it."""

    def __init__(self, options: ConnectOptions, launched: Launched, caller: Caller, report: Report) -> None:
        self._options = options
        self._rights: tuple[Rule, ...] = rbac.CONNECT
        self._launched = launched
        self._caller = caller
        self._report = report
        self._began_s, self.limit = time.monotonic(), TimeLimit(options.for_s)
        self._quit = asyncio.Event()
        self._routing = Routing(options, report, self._step)
        self._front: Front | None = None
        self._pump: Carrier | None = None
        self._zone: Zone | None = None
        self._tunnel: Tunnel | None = None
        self._uplink: Uplink[AgentHello] | None = None
        self._outages = Outages(report)
        self._counters: CounterReaders = {}
        self._command = UserCommand(options.command)
        self._known = ConnectStatus(
            pid=os.getpid(),
            server="",
            context="",
            namespace="",
            state="starting",
            uptime_s=0,
            mode=options.capture.mode,
            name=options.name,
            excluded=tuple(map(str, options.exclude)),
            dns_zones=tuple(options.dns_zones),
            up=begun_by(),
        )
        self.is_ready = False
        self._is_changed = False
        self._settled: str | None = None
        """The last sentence, where there was nothing to do."""

    @property
    def _does(self) -> str:
        """What others are told that the session does."""
        return self.name

    @property
    def farewell(self) -> str:
        if self._command.exit_code is not None:
            undone = "; everything is undone" if self._is_changed else ""
            return f"{self._command.words[0]} ended with {self._command.exit_code}{undone}."
        if self._quit.is_set():
            return self._settled or f"Disconnected by {self.ended_by}; everything is undone."
        if not self._is_changed:
            return NOTHING_CHANGED
        return f"{'Disconnected' if self.is_ready else 'Interrupted'}; everything is undone."

    @property
    def ends_well(self) -> bool:
        return self.is_ready and not self._command.is_running

    async def run(self) -> int:
        """Return when `ktpy quit` asked for it, or with the exit code of the user's command; raise what else ended the
        session. Everything is undone either way."""
        refuse_absent(self._options.command)
        if not self._options.command:  # which Ctrl-Z stops, and ktpy with it
            asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._report, Notice(NOT_STOPPED))
        try:
            async with AsyncExitStack() as cluster, AsyncExitStack() as laptop, asyncio.TaskGroup() as work:
                work.create_task(self._until_quit(), name="wait for quit")
                await self._start(cluster, laptop, work)
                self.is_ready = True
                gc.freeze()  # what the imports left is not looked through again: it takes 70 ms with every flow waiting
                self._report(Ready(self._status()))
                await self._run_command(self._known)
        except* Quit:
            pass
        return self._command.exit_code or 0

    def handles_signal(self, signal_number: int) -> bool:
        """Return whether ktpy handles the signal: while the user's command runs, Ctrl-C is for that."""
        return not self._quit.is_set() and not (signal_number == signal.SIGINT and self._command.is_running)

    async def _until_quit(self) -> None:
        await self._quit.wait()
        raise Quit

    async def _run_command(self, session: ConnectStatus) -> None:
        """Run the user's command, if there is one, in the environment of a session, and end with it."""
        if self._options.command:
            await self._command.run(session.environment)
            raise Quit

    # --- the stages: each is given the undo stack and the task group that what it makes lives in

    async def _start(self, cluster: AsyncExitStack, laptop: AsyncExitStack, work: asyncio.TaskGroup) -> None:
        api = await self._open_cluster(cluster)
        tunnel = await self._create_shadow(api, cluster, work)
        work.create_task(self._warn_of_policies(api, tunnel.shadow), name="look at NetworkPolicies")
        # The pod takes half a second to start: as long as the largest imports, which did not hold up its creation.
        front = await asyncio.to_thread(self._options.capture.load)
        zone = self._feed_zone(api, work)
        self._uplink = uplink = tunnel.hold_uplink(self._routing, self._counters, cluster, work)
        async with asyncio.TaskGroup() as start:
            opening = start.create_task(self._open_tunnel(uplink, tunnel), name="open tunnel")
            preparing = start.create_task(
                _prepare_laptop(front, self._launched, laptop, self._report), name="prepare laptop"
            )
            work.create_task(_until_helper_gone(preparing), name="watch helper")  # the pod may be long in coming
            routing = start.create_task(self._routing.choose_ranges(api, preparing), name="choose ranges")
        hello, machine, chosen = opening.result(), preparing.result(), routing.result()
        self._front = machine
        zone.stand_ins = machine.stand_ins
        self._known = replace(self._known, proxy=machine.proxy_status(api.address))
        datagrams = tunnel.datagram_link() if hello.datagrams else None
        dial = self._with_shortcuts((tunnel.keeper or uplink).create_connection, api)
        self._pump = pump = await machine.start_pump(uplink, datagrams, laptop, dial=dial)
        work.create_task(pump.wait_closed(), name="watch TUN")
        if datagrams:
            tunnel.carry_datagrams(datagrams, pump.deliver, work)
        self._counters |= pump.counter_readers()
        routed = await self._routing.route_chosen(machine, hello, chosen)
        self._routing.follow(api, machine, routed, work)
        righting = put_right(
            machine,
            self._outages,
            lambda: self._routing.routed,
            self._options.include,
            self._report,
            self._note,
        )
        work.create_task(righting, name="put routes right")
        if self._options.dns:
            await self._serve_names(api, machine, uplink, hello, zone, routed, work)
            self._known = replace(self._known, try_command=self._to_try(zone, api.namespace))

    @stage
    async def _open_cluster(self, cluster: AsyncExitStack) -> Api:
        """Read the kubeconfig, claim this user's only session to the cluster, and answer on its control socket."""
        options = self._options
        api = await Api.load(options.kubeconfig, options.context, options.namespace)
        cluster.push_async_callback(api.close)
        await cluster.enter_async_context(naming_all_missing(api, self._rights))
        server = api.target.server
        try:
            control_path = cluster.enter_context(self._claim(server))
        except AlreadyConnected as error:
            await self._settle(api, error)
        self._known = replace(self._known, server=server, context=api.target.context, namespace=api.namespace)
        verbs = {"status": lambda: to_json(self._status()), "quit": self._request_quit}
        streams = {"packets": lambda asked: told_packets(self._pump, self._zone, api.namespace, asked)}
        await cluster.enter_async_context(control_server.serve(control_path, verbs, streams))
        self._step("cluster", f"{api.target.context} ({server}), namespace {api.namespace}")
        return api

    def _claim(self, server: str) -> AbstractContextManager[Path]:
        """Hold the right to be this session; the path is of its control socket. Raises AlreadyConnected."""
        return RuntimeDirectory.of(self._caller).claim(server, self._options.name)

    @stage
    async def _create_shadow(self, api: Api, undo: AsyncExitStack, work: asyncio.TaskGroup) -> Tunnel:
        self._tunnel = tunnel = Tunnel(
            api,
            self._options,
            self._outages,
            self._report,
            self._step,
            is_ready=lambda: self.is_ready,
            owner=self._caller.owner,
            does=self._does,
        )
        self._is_changed = True
        await tunnel.create_pod(undo, work)
        return tunnel

    def _with_shortcuts(self, dial: "Dial", api: Api) -> "Dial":
        if not self._options.local_shortcut:
            return dial
        from ktpy.serve.shortcuts import Shortcuts

        shortcuts = Shortcuts(dial, RuntimeDirectory.of(self._caller).shortcuts, api.target.server)
        self._counters["local_shortcuts"] = shortcuts.counted
        return shortcuts.create_connection

    async def _warn_of_policies(self, api: Api, shadow: Shadow) -> None:
        with suppress(KtpyError):
            for warning in await warnings_for_shadow(api, shadow.pod_labels):
                self._report(Notice(warning))

    def _feed_zone(self, api: Api, work: asyncio.TaskGroup) -> "Zone":
        """Fill the zone while the pod starts, so that it knows the names once the machine asks ktpy."""
        from ktpy.dns.zone import Zone

        options = self._options
        known_as = options.name if options.capture.mode == "tun" else None  # elsewhere names are nobody else's
        self._zone = zone = Zone(extra_zones=options.dns_zones, known_as=known_as)
        work.create_task(feed_zone(api, zone, self._routing.take_slice), name="zone feed")
        return zone

    @stage
    async def _open_tunnel(self, uplink: "Uplink[AgentHello]", tunnel: Tunnel) -> "AgentHello":
        hello = await uplink.wait_up()
        self._known = replace(self._known, agent=hello.agent)
        self._step("ssh", f"a session with {tunnel.pod}")
        if (difference := version_difference(hello.version)) is not None:
            self._report(Notice(f"The agent in the pod is {difference} than this ktpy; they understand each other."))
        if not hello.datagrams:
            self._report(Notice(NO_DATAGRAMS.format(hello.agent)))
        return hello

    @stage
    async def _serve_names(
        self,
        api: Api,
        machine: Front,
        uplink: "Uplink[AgentHello]",
        hello: "AgentHello",
        zone: "Zone",
        routed: list[RoutedRange],
        work: asyncio.TaskGroup,
    ) -> None:
        told, changes = await machine.serve_names(
            zone,
            uplink,
            hello,
            api.namespace,
            extra_zones=self._options.dns_zones,
            routed=[entry.routed for entry in routed],
            work=work,
            counters=self._counters,
            on_alias=self._routing.route_alias,
        )
        self._known = replace(self._known, dns=told)
        work.create_task(self._tell_resolver_changes(changes), name="keep resolver")
        self._step("dns", f"names of {told.cluster_domain} by {told.resolver}")

    async def _tell_resolver_changes(self, changes: AsyncIterator[str]) -> None:
        async for sentence in changes:
            self._report(Notice(sentence))
        self._known = replace(self._known, dns=None)

    async def _settle(self, api: Api, refusal: AlreadyConnected) -> NoReturn:
        """End well where the running session is what the user wants. Raises the refusal otherwise."""
        running = await asyncio.to_thread(connected_to, api.target, self._known.mode, self._caller, self._known.name)
        if running is None:
            raise refusal
        await self._run_command(running)
        self._settled = already(running)
        if running.proxy or parent() is not None:  # its environment is what was asked for, or where it stands
            self._report(Ready(running))
        self._quit.set()
        raise Quit

    # --- what the user sees

    def _to_try(self, zone: "Zone", namespace: str) -> str | None:
        return try_command(zone, namespace)

    def _note(self, notes: tuple[str, ...]) -> None:
        self._known = replace(self._known, notes=notes)

    def _step(self, name: str, detail: str) -> None:
        self._report(StartStep(name, detail, round(time.monotonic() - self._began_s, 3)))

    def _status(self) -> ConnectStatus:
        pump, link = self._pump, self._outages.status
        return replace(
            self._known,
            state=("connected" if link.is_up else "reconnecting") if self.is_ready else "starting",
            pod=self._tunnel.pod if self._tunnel else None,
            link=link,
            via=self._tunnel.via if self._tunnel else None,
            ranges=self._routing.ranges,
            uptime_s=round(time.monotonic() - self._began_s, 1),
            ends_in_s=self.limit.left_s,
            bytes=TrafficBytes(pump.traffic.received_bytes, pump.traffic.sent_bytes) if pump else TrafficBytes(),
            open_flows=pump.open_flows if pump else 0,
            datagram_flows=pump.datagram_flows if pump else 0,
            counters={group: read() for group, read in self._counters.items()},
        )

    def _request_quit(self) -> dict[str, Any]:
        self._quit.set()
        return {"ending": True}


@stage
async def _prepare_laptop(front: type[Front], launched: Launched, undo: AsyncExitStack, report: Report) -> Front:
    return await front.prepare(launched, undo, report)


async def _until_helper_gone(preparing: asyncio.Task[Front]) -> None:
    """Raise HelperFailed when the helper dies. Where the laptop could not be prepared, that is told by who did it."""
    await asyncio.wait({preparing})
    if not preparing.cancelled() and not preparing.exception():
        await preparing.result().until_helper_gone()
