"""`ktpy connect`, from nothing to ready to undone.

What can run side by side does: the helper starts while the kubeconfig is read; the pod starts while ranges are
discovered, names are watched and the TUN is made. Every undo is registered before its change, in the order in which
`_Connect.run` reads; whatever ends the session unwinds the same way.
"""

import asyncio
import logging
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from ktpy.cluster.client import Api
from ktpy.cluster.networks import Network
from ktpy.cluster.newcomers import newcomers
from ktpy.cluster.pod_state import Stage
from ktpy.cluster.port_forward import PortForward
from ktpy.cluster.ranges import RoutedRange, discover, refuse_overlaps
from ktpy.cluster.shadow import SHADOW_PORT, PodProgress, Shadow
from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import Resolver
from ktpy.dns.server import Server
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import ClusterDns, resolver_request, server_address
from ktpy.dns.upstream import Upstream
from ktpy.dns.zone import Zone
from ktpy.errors import HelperFailed, HostKeyMismatch, KtpyError, RangeOverlap
from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.launch import LaunchedHelper, launch
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.protocol import Resolver as MachineResolver
from ktpy.session import control
from ktpy.session.caller import Caller
from ktpy.session.options import ConnectOptions
from ktpy.session.progress import Ended, Notice, Ready, Report, Step
from ktpy.session.recovery import describe
from ktpy.session.runtime import RuntimeDirectory
from ktpy.session.zone_feed import ZoneFeed
from ktpy.tunnel.pump import Pump, TunAddress
from ktpy.tunnel.ssh import SshTunnel, dial_until, make_key

logger = logging.getLogger(__name__)

DNS_PORT = 53
UNDO_TIMEOUT_S = 10.0


def run(options: ConnectOptions, helper: LaunchedHelper | None, caller: Caller, report: Report) -> int:
    """Connect, stay until told to stop, undo; returns the exit code. The last event reported is an Ended.

    `helper` is the privileged helper where it could be launched already; else sudo is asked for it.
    """
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        ended = runner.run(_supervise(options, helper, caller, report))
    report(ended)
    return ended.exit_code


def _event_loop() -> Any:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: asyncio's own loop does
        return None
    return uvloop.new_event_loop


async def _supervise(options: ConnectOptions, helper: LaunchedHelper | None, caller: Caller, report: Report) -> Ended:
    """Run the session; signals end it as `ktpy quit` does."""
    connect = _Connect(options, helper, caller, report)
    session = asyncio.create_task(connect.run(), name="connect")
    signals: list[int] = []

    def interrupt(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:  # a second one must not break the undoing, whose every step is bounded in time
            session.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    over = "Disconnected; everything is undone."
    try:
        await session
    except asyncio.CancelledError:
        if not signals:
            raise
        return Ended(0 if connect.is_ready else 128 + signals[0], over)
    except Exception as error:
        return _ended_by(error)
    return Ended(0, over)


def _ended_by(error: BaseException) -> Ended:
    while isinstance(error, BaseExceptionGroup):  # of tasks that failed together, the first is the cause
        error = error.exceptions[0]
    logger.debug("the session failed", exc_info=error)
    if isinstance(error, KtpyError):
        return Ended(error.exit_code, error.message, error.hint)
    return Ended(1, f"Unexpected failure: {error!r}. Everything is undone.", "Run again with -vv for the traceback.")


class _Quit(Exception):
    """`ktpy quit`."""


@dataclass(frozen=True, slots=True)
class _Laptop:
    """What the helper made ready before anything is known of the cluster."""

    helper: HelperClient
    tun: Tun
    networks: tuple[LocalNetwork, ...]
    resolver: MachineResolver

    @property
    def addresses(self) -> list[TunAddress]:
        opened = self.tun.opened
        pairs = ((opened.address4, opened.peer4), (opened.address6, opened.peer6))
        return [TunAddress(str(own.ip), str(peer)) for own, peer in pairs if own and peer]

    def refuse_overlaps(self, ranges: list[RoutedRange], options: ConnectOptions) -> None:
        """Raise RangeOverlap where a range is a local network too, and no --include names it."""
        refuse_overlaps(ranges, [(local.network, local.interface) for local in self.networks], options.include)


class _Connect:
    """One session. Its two undo stacks unwind the laptop first, then the cluster."""

    def __init__(self, options: ConnectOptions, helper: LaunchedHelper | None, caller: Caller, report: Report) -> None:
        self._options = options
        self._launched = helper
        self._caller = caller
        self._report = report
        self._began_s = time.monotonic()
        self._zone = Zone(extra_zones=options.dns_zones)
        self._quit = asyncio.Event()
        self._pump: Pump | None = None
        self._facts: dict[str, Any] = {"kind": "connect", "pid": os.getpid(), "dns": None, "ranges": [], "pod": None}
        self.is_ready = False

    async def run(self) -> None:
        """Return when `ktpy quit` asked for it; raise what else ended the session. All is undone either way."""
        try:
            async with AsyncExitStack() as cluster, AsyncExitStack() as laptop, asyncio.TaskGroup() as work:
                await self._start(cluster, laptop, work)
                self.is_ready = True
                self._report(Ready(self._status()))
                work.create_task(self._until_quit(), name="wait for quit")
        except* _Quit:
            pass

    async def _until_quit(self) -> None:
        await self._quit.wait()
        raise _Quit

    async def _start(self, cluster: AsyncExitStack, laptop: AsyncExitStack, work: asyncio.TaskGroup) -> None:
        api = await Api.load(self._options.kubeconfig, self._options.context, self._options.namespace)
        cluster.push_async_callback(api.close)
        server = api.target.server
        control_path = cluster.enter_context(RuntimeDirectory.of(self._caller).claim(server))
        verbs: control.Verbs = {"status": self._status, "quit": self._request_quit}
        await cluster.enter_async_context(control.serve(control_path, verbs))
        self._facts |= {"server": server, "context": api.target.context, "namespace": api.namespace}
        self._step("cluster", f"{api.target.context} ({server}), namespace {api.namespace}")
        if self._launched is None:
            self._launched = launch()

        work.create_task(ZoneFeed(api, self._zone).run(), name="zone feed")
        async with asyncio.TaskGroup() as start:
            preparing = start.create_task(self._prepare_laptop(laptop), name="prepare laptop")
            routing = start.create_task(self._choose_ranges(api, preparing), name="choose ranges")
            opening = start.create_task(self._open_tunnel(api, cluster, work), name="open tunnel")
        machine, routed, tunnel = preparing.result(), routing.result(), opening.result()
        work.create_task(_until_link_lost(tunnel), name="watch link")
        work.create_task(_until_helper_gone(machine.helper), name="watch helper")

        pump = self._pump = Pump(machine.tun.descriptor, machine.addresses, tunnel.create_connection)
        await pump.start()
        laptop.push_async_callback(pump.aclose)
        work.create_task(pump.wait_closed(), name="watch TUN")
        await self._route(machine, routed)
        networks = [entry.network for entry in routed]
        self._step("routes", f"{', '.join(map(str, networks))} by {machine.tun.opened.name}")
        if self._options.pods:
            work.create_task(self._route_newcomers(api, machine, routed), name="route newcomers")
        if self._options.dns:
            await self._serve_names(machine, tunnel, networks, work)

    # --- the laptop

    async def _prepare_laptop(self, undo: AsyncExitStack) -> _Laptop:
        helper = await HelperClient.start(self._launched)
        undo.push_async_callback(self._undo_laptop, helper)
        for journal in await helper.recover():
            self._report(Notice(describe(journal, "An earlier ktpy was killed")))
        networks = await helper.local_networks()
        resolver = await helper.detect_resolver()
        tun = await helper.open_tun()
        undo.callback(os.close, tun.descriptor)
        return _Laptop(helper, tun, networks, resolver)

    async def _undo_laptop(self, helper: HelperClient) -> None:
        undone = await helper.close()
        if undone is not None and (undone.left or undone.failures):
            self._report(Notice(describe(undone, "Undoing")))

    async def _route(self, machine: _Laptop, ranges: list[RoutedRange]) -> None:
        await machine.helper.add_routes(entry.network for entry in ranges)
        self._facts["ranges"] += [
            {"network": str(entry.network), "kind": entry.kind, "source": entry.source} for entry in ranges
        ]

    async def _route_newcomers(self, api: Api, machine: _Laptop, routed: list[RoutedRange]) -> None:
        async for ranges in newcomers(api, routed, exclude=self._options.exclude):
            try:
                machine.refuse_overlaps(ranges, self._options)
            except RangeOverlap as overlap:
                self._report(Notice(f"{overlap.message} It is not routed."))
            else:
                await self._route(machine, ranges)

    async def _serve_names(
        self, machine: _Laptop, tunnel: SshTunnel, networks: list[Network], work: asyncio.TaskGroup
    ) -> None:
        seen = machine.resolver
        address = server_address(seen.kind, machine.tun.opened.number, machine.tun.opened.address4.ip)
        cluster_dns = ClusterDns.of({"search": tunnel.hello.search, "nameservers": tunnel.hello.nameservers})
        self._zone.cluster_domain = cluster_dns.domain
        self._zone.set_routed(networks)
        dial = StreamClient(tunnel.create_connection, [(server, DNS_PORT) for server in cluster_dns.nameservers])
        resolver = Resolver(
            self._zone,
            upstream=Forwarder(Upstream(seen.nameservers, own_addresses=[str(address)])),
            cluster=Forwarder(dial),
        )
        [sockets] = await machine.helper.bind_dns([address])
        work.create_task(Server(resolver, [sockets.udp], [sockets.tcp]).serve(), name="name server")
        request = resolver_request(
            address,
            cluster_dns.domain,
            self._facts["namespace"],
            extra_zones=self._options.dns_zones,
            routed=networks,
        )
        await machine.helper.set_resolver(
            request.nameservers,
            search=request.search,
            routing_domains=request.routing_domains,
            cluster_domain=request.cluster_domain,
        )
        self._facts["dns"] = {
            "cluster_domain": cluster_dns.domain,
            "address": str(address),
            "resolver": seen.kind,
            "search": list(request.search),
        }
        self._step("dns", f"names of {cluster_dns.domain} by {seen.kind}")

    # --- the cluster

    async def _choose_ranges(self, api: Api, preparing: "asyncio.Task[_Laptop]") -> list[RoutedRange]:
        options = self._options
        found = await discover(api, include=options.include, exclude=options.exclude, pods=options.pods)
        (await preparing).refuse_overlaps(found, options)
        return found

    async def _open_tunnel(self, api: Api, undo: AsyncExitStack, work: asyncio.TaskGroup) -> SshTunnel:
        options = self._options
        key = make_key()
        shadow = Shadow(
            api,
            image=options.image,
            public_key=key.public_line,
            pod_timeout_s=options.pod_timeout_s,
            on_progress=self._tell_pod,
        )
        undo.push_async_callback(self._delete_shadow, shadow)
        work.create_task(shadow.supervise(), name="supervise pod")
        await shadow.create()
        pod = await shadow.pod_name()
        self._facts["pod"] = pod
        forward = PortForward(api.endpoint, api.namespace, pod, SHADOW_PORT)
        tunnel = await dial_until(forward, key, timeout_s=options.pod_timeout_s)
        undo.callback(tunnel.close)
        self._step("ssh", f"a session with {pod}")
        work.create_task(_confirm(shadow, tunnel), name="confirm session")
        return tunnel

    def _tell_pod(self, progress: PodProgress) -> None:
        where = {
            Stage.CREATED: "created",
            Stage.SCHEDULED: f"scheduled on {progress.detail}",
            Stage.PULLING: progress.detail,
            Stage.STARTED: "started",
        }
        self._step("pod", f"{progress.pod}: {where[progress.stage]}")

    async def _delete_shadow(self, shadow: Shadow) -> None:
        try:
            await shadow.delete()
        except KtpyError as error:
            why = f"Job {shadow.job} could not be deleted: {error.message}"
            self._report(Notice(f"{why} It removes itself within two minutes."))

    # --- what the user sees

    def _step(self, name: str, detail: str) -> None:
        self._report(Step(name, detail, time.monotonic() - self._began_s))

    def _status(self) -> dict[str, Any]:
        pump = self._pump
        return {
            **self._facts,
            "state": "connected" if self.is_ready else "starting",
            "uptime_s": round(time.monotonic() - self._began_s, 1),
            "bytes": {
                "in": pump.traffic.received_bytes if pump else 0,
                "out": pump.traffic.sent_bytes if pump else 0,
            },
            "open_flows": pump.open_flows if pump else 0,
        }

    def _request_quit(self) -> dict[str, Any]:
        self._quit.set()
        return {"ending": True}


async def _confirm(shadow: Shadow, tunnel: SshTunnel) -> None:
    """The session stands: free the Job of its deadline, then make sure that it is the pod that answers.

    Raises HostKeyMismatch. Where the user may not read the pod's log, the API server's word has to do.
    """
    await shadow.release_deadline()
    printed = await shadow.host_key()
    if printed is not None and printed != tunnel.host_key:
        raise HostKeyMismatch(
            "The SSH host key is not the one the pod printed, so somebody is between; ktpy ended the session.",
            hint="Tell whoever runs the cluster.",
        )


async def _until_link_lost(tunnel: SshTunnel) -> None:
    lost = await tunnel.wait_closed()
    if lost is not None:
        raise lost


async def _until_helper_gone(helper: HelperClient) -> None:
    await helper.wait_closed()
    raise HelperFailed(
        "The privileged helper died, so ktpy ended the session.",
        hint="`sudo ktpy clean` (or the next `ktpy connect`) undoes what the helper could not.",
    )
