"""The supervisor is pid 1 of a gateway pod.

It runs HAProxy, which has the intercepted service's ports, and sshd, through which laptops come. It keeps the table of
live routes, and HAProxy's configuration in step with it. Whatever fails around it, HAProxy goes on with what it has
loaded last; a route that dies leaves the original pods behind it. It never ends for want of sessions: the service's
selector may still point here.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ktpy.wire.gateway import GatewaySpec, SpecError
from ktpy.wire.route import HelloError, RouteHello, accepted_line, counters_line
from ktpy_agent.authorized_keys import GATEWAY_OPTIONS, AuthorizedKeys, Permission
from ktpy_agent.children import reap
from ktpy_agent.control import ControlSocket, RouteConnection
from ktpy_agent.counters import Counters
from ktpy_agent.gateway_spec import parse_spec
from ktpy_agent.haproxy import HAProxy, HAProxyError, describe_machine
from ktpy_agent.haproxy_config import Config, render
from ktpy_agent.listeners import Listeners
from ktpy_agent.liveness import AliveSockets
from ktpy_agent.memory import left_bytes
from ktpy_agent.pod_log import announce_host_key, log
from ktpy_agent.port_counters import PortCounters
from ktpy_agent.relay_child import RelayReport
from ktpy_agent.routes import Refused, Route, RouteTable, describe
from ktpy_agent.settings import Settings
from ktpy_agent.sshd import SshdError, make_host_key, start_sshd, write_account
from ktpy_agent.tap_child import TapChild
from ktpy_agent.udp_child import UdpChild

TICK_S = 0.1
"""A changed annotation, or a socket that came or went, is noticed this soon; signals and routes wake us at once."""
NEWCOMERS_S, NEWCOMERS_TICK_S = 0.5, 0.02
"""A laptop that has just been let in waits for its requests, so for this long ticks are shorter."""
COUNTERS_S = 1.0
RESTART_S = 1.0
"""At least this time passes between two starts of the same child."""
DRAIN_MOST_S = 20.0
"""A gateway that was told to stop takes connections for at most this long: somebody may have its address itself."""
LAST_CONNECTIONS_S = 15.0
"""Connections have this long to end by themselves once a gateway that goes takes no new ones."""
RESERVE_BYTES = 128 << 20
"""No newcomer is taken with less memory left than this: HAProxy may need as much for requests (haproxy_config.py)."""
# sshd lets nobody listen on unix sockets who may not on TCP ports; the keys' options take the latter away again.
SSHD_POLICY = ("AllowTcpForwarding=remote", "AllowStreamLocalForwarding=remote", "StreamLocalBindUnlink=no")


def run(settings: Settings) -> int:
    """Serve until told to stop (0); 1 when the gateway cannot be brought up."""
    try:
        spec = parse_spec(settings.annotations.read_text(encoding="utf-8", errors="replace"))
        with selectors.DefaultSelector() as selector, Gateway(settings, spec, selector) as gateway:
            gateway.serve()
    except (SpecError, HAProxyError, SshdError, OSError) as exc:
        log(f"cannot run the gateway: {exc}")
        return 1
    return 0


class Gateway:
    def __init__(self, settings: Settings, spec: GatewaySpec, selector: selectors.BaseSelector) -> None:
        self._settings = settings
        self._spec = spec
        self._selector = selector
        self._stop_signals = 0
        self._wake_on_signals()
        settings.routes_dir.mkdir(parents=True, exist_ok=True)
        # The kubelet's first probe waits for HAProxy: were it refused, the next one would come a second later.
        ports = [settings.ready_port, *(port.bind for port in spec.tcp_ports)]
        self._listeners = Listeners(settings.held, ports, has_ipv6=socket.has_dualstack_ipv6())
        self._machine = describe_machine(settings, self._listeners.descriptors)
        self._table = RouteTable(spec)
        self._newcomers: dict[RouteConnection, tuple[Route, ...]] = {}
        self._connections: dict[str, RouteConnection] = {}
        self._alive = AliveSockets(settings.routes_dir)
        self._control = ControlSocket(settings.control, selector, settings.route_silence_s, self._join, self._leave)
        self._counters = Counters()
        self._port_counters = PortCounters(self._counters)
        self._udp = UdpChild(selector, partial(self._take_report, "udp"))
        self._taps = TapChild(selector, partial(self._take_report, "tap"))
        self._counters_due_s = 0.0
        self._tick_due_s = 0.0
        self._newcomers_until_s = 0.0
        self._loaded = self._table.generation
        self._reload_due_s = 0.0
        self._starts_s: dict[str, float] = {}
        self._retries_s: dict[str, float] = {}
        self._haproxy = HAProxy(settings.run_dir, self._listeners.descriptors.values())
        self._pids: dict[str, int] = {}
        self._start_haproxy()
        write_account(settings.run_dir)
        self._host_key, public_key = make_host_key(settings.run_dir)
        agent = Path(sys.argv[0]).resolve()
        permission = Permission(GATEWAY_OPTIONS, f"exec {agent} route {settings.control} {{session}}")
        self._keys = AuthorizedKeys(settings.annotations, settings.run_dir / "authorized_keys", permission, log)
        self._keys.refresh()
        self._await_haproxy()
        self._revive()
        announce_host_key(public_key)
        served = " ".join(f"{port.bind}->{port.port}/{'HTTP' if port.http else port.protocol}" for port in spec.ports)
        log(f"gateway of {spec.target} serves {served}")

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._haproxy.signal(signal.SIGTERM)
        for pid in self._pids.values():
            os.kill(pid, signal.SIGTERM)

    def serve(self) -> None:
        while not self._stop_signals:
            self._turn()
            for step in (self._revive, self._apply, self._report, self._lead_udp, self._lead_taps):
                self._attempt(step)
        self._drain()

    def _drain(self) -> None:
        """Take connections until nobody sends new ones, let those that are open end, and only then go.

        The pod's end and the end of its endpoint are announced at the same time, and nodes learn of the latter later;
        where no other endpoint is ready, they keep sending here (KEP-1669). A second signal ends it at once.
        """
        log("told to stop: draining")
        taken, quiet_since_s = 0, time.monotonic()
        ended_s = quiet_since_s + DRAIN_MOST_S
        while time.monotonic() < min(quiet_since_s + self._settings.drain_s, ended_s) and self._stop_signals < 2:
            self._turn()
            self._attempt(self._report)
            with contextlib.suppress(HAProxyError):
                if taken != (taken := self._haproxy.clients()):
                    quiet_since_s = time.monotonic()
        self._haproxy.end([port.port for port in self._spec.tcp_ports if port.http])
        self._listeners.close()
        ended_s = time.monotonic() + LAST_CONNECTIONS_S
        while self._haproxy.pid is not None and time.monotonic() < ended_s and self._stop_signals < 2:
            self._turn()
        log("stopped")

    def _turn(self) -> None:
        """Wait for something to happen, at most until the next tick, and take note of it.

        Beats come a hundred times a second where many laptops are, so that what looks at every route is done at ticks.
        """
        for key, _ in self._selector.select(max(0.0, self._tick_due_s - time.monotonic())):
            key.data()
        for pid, status in reap():
            self._note_end(pid, status)
        if time.monotonic() < self._tick_due_s:
            return
        self._tick_due_s = time.monotonic() + self._tick_s()
        self._control.end_silent()
        self._attempt(self._refresh_keys)
        self._attempt(self._refresh_alive)
        self._attempt(self._listeners.hand_over)

    def _tick_s(self) -> float:
        return NEWCOMERS_TICK_S if time.monotonic() < self._newcomers_until_s else TICK_S

    def _refresh_keys(self) -> None:
        self._keys.refresh()
        for session in self._connections.keys() - self._keys.sessions:
            log(f"session {session} has no key any more")
            connection = self._connections[session]
            self._leave(connection)
            self._control.drop(connection)

    def _refresh_alive(self) -> None:
        if self._alive.refresh(self._table.routes):
            self._counters_due_s = 0.0

    def _attempt(self, step: Callable[[], None]) -> None:
        """Log a failure, such as of a full run directory, and let a second pass before the step is tried again."""
        now_s = time.monotonic()
        if now_s < self._retries_s.get(step.__name__, now_s):
            return
        try:
            step()
        except (OSError, HAProxyError) as exc:
            self._retries_s[step.__name__] = now_s + RESTART_S
            log(f"is tried again: {step.__name__.strip('_')} failed: {exc}")

    # Routes

    def _join(self, connection: RouteConnection, line: bytes) -> None:
        """Take a laptop's hello, which is answered once HAProxy has loaded its routes."""
        session = connection.session
        try:
            if self._stop_signals:
                raise Refused(f"this gateway of {self._spec.target} is about to end", for_now=True)  # noqa: TRY301
            hello = RouteHello.parse(line, session)
            self._refuse_without_memory(session)
            before = self._table.routes
            routes = self._table.join(hello)
        except HelloError as exc:
            self._refuse(connection, Refused(str(exc)))
        except Refused as exc:
            self._refuse(connection, exc)
        else:
            replaced = self._connections.pop(session, None)
            if replaced is not None:
                self._newcomers.pop(replaced, None)
                self._control.drop(replaced)
                self._alive.remove(route for route in before if route.session == session)
            self._connections[session] = connection
            self._newcomers[connection] = routes
            self._port_counters.add(routes)
            log(f"session {session} of {hello.owner} takes {describe(routes)}")

    def _refuse_without_memory(self, session: str) -> None:
        """Raise Refused for a newcomer before the kernel would end the gateway for everybody."""
        left = left_bytes(self._settings.cgroup)
        if left is not None and left < RESERVE_BYTES and session not in self._connections:
            raise Refused(
                f"the gateway of {self._spec.target} has {len(self._table.routes)} routes,"
                f" and with {left >> 20} MiB of memory left takes no more"
            )

    def _leave(self, connection: RouteConnection) -> None:
        """Take the end of a route, however it came; requests turn to the original pods at once, before any reload."""
        session = connection.session
        self._newcomers.pop(connection, None)
        if self._connections.get(session) is connection:
            del self._connections[session]
            self._port_counters.end(session)
            routes = self._table.leave(session)
            self._alive.remove(routes)
            log(f"session {session} of {routes[0].owner} gives back {describe(routes)}")

    def _refuse(self, connection: RouteConnection, refused: Refused) -> None:
        log(f"refused session {connection.session}: {refused}")
        connection.send(refused.refusal.line())
        self._leave(connection)
        self._control.dismiss(connection)

    # HAProxy follows the table

    def _apply(self) -> None:
        """Load the table's present generation. While that fails, HAProxy serves the generation it has."""
        generation = self._table.generation
        if generation == self._loaded or time.monotonic() < self._reload_due_s or self._haproxy.pid is None:
            return
        newcomers = dict(self._newcomers)
        # No route depends on another, so the others need no second check.
        new = tuple(route for routes in newcomers.values() for route in routes)
        if new and (complaint := self._haproxy.check(self._render(new))) is not None:
            self._refuse_culprits(newcomers, complaint)
            return
        self._haproxy.accept(self._render(self._table.routes))
        self._count()  # the worker that goes takes its counts with it
        if not self._haproxy.reload(generation):
            log(f"HAProxy did not load generation {generation}; it keeps serving generation {self._loaded}")
            self._reload_due_s = time.monotonic() + RESTART_S
            for connection in newcomers:
                self._refuse(connection, Refused("the gateway's HAProxy did not load the new routes", for_now=True))
            return
        self._loaded = generation
        if newcomers:
            self._newcomers_until_s = time.monotonic() + NEWCOMERS_S
            self._tick_due_s = 0.0
        for connection, routes in newcomers.items():
            self._newcomers.pop(connection, None)
            self._port_counters.begin(connection.session, routes)
            answer = accepted_line((route.service_port, str(self._socket(route))) for route in routes)
            if not connection.send(answer):
                self._leave(connection)
                self._control.drop(connection)

    def _refuse_culprits(self, newcomers: dict[RouteConnection, tuple[Route, ...]], complaint: str) -> None:
        """Refuse the newcomers with which HAProxy does not load: their regular expressions do not compile."""
        log(f"HAProxy would not load generation {self._table.generation}: {complaint}")
        complaints = {each: self._haproxy.check(self._render(routes)) for each, routes in newcomers.items()}
        culprits = {each: own for each, own in complaints.items() if own} or dict.fromkeys(newcomers, complaint)
        for connection, reason in culprits.items():
            self._refuse(connection, Refused(f"HAProxy does not take this match: {reason}"))

    def _render(self, routes: tuple[Route, ...]) -> Config:
        return render(self._machine, self._spec, routes, self._table.last_owner, self._table.generation)

    def _socket(self, route: Route) -> Path:
        return self._settings.routes_dir / f"{route.stem}.sock"

    def _report(self) -> None:
        """Tell each laptop once a second what its routes served, and at once whether requests come to it."""
        now_s = time.monotonic()
        if now_s < self._counters_due_s or not self._connections:
            return
        self._count()
        is_settled = all(self._counters.is_up(route.name) for route in self._table.routes if self._alive.has(route))
        self._counters_due_s = now_s + (COUNTERS_S if is_settled else self._tick_s())
        for session, counted in self._port_counters.of_sessions(self._table.routes, self._alive.has).items():
            connection = self._connections[session]
            if connection not in self._newcomers and not connection.send(counters_line(counted)):
                self._leave(connection)
                self._control.drop(connection)

    def _count(self) -> None:
        """Read HAProxy's counters; what is served between this and the end of a worker is never counted."""
        # The master starts itself anew with each reload: it is deaf for an instant, or its answer is cut short.
        with contextlib.suppress(HAProxyError, ValueError, LookupError):
            self._counters.update(self._haproxy.statistics())

    # UDP and taps

    def _lead_udp(self) -> None:
        """Tell the process that relays UDP which laptops have datagrams now."""
        if self._spec.udp_ports:
            self._udp.lead(self._table.routes, self._live_socket)

    def _lead_taps(self) -> None:
        """Tell the process that sends copies which laptops take them now."""
        self._taps.lead(self._table.routes, self._live_socket)

    def _live_socket(self, route: Route) -> Path | None:
        return self._socket(route) if self._alive.has(route) else None

    def _take_report(self, counter: str, report: RelayReport) -> None:
        self._counters.add(counter, report.counts, report.up)
        self._counters_due_s = 0.0

    # Children

    def _start_haproxy(self) -> None:
        config = self._render(())
        if (complaint := self._haproxy.check(config)) is not None:
            raise HAProxyError(f"HAProxy does not take its configuration: {complaint}")
        self._haproxy.accept(config)
        self._haproxy.start()

    def _await_haproxy(self) -> None:
        """Wait until HAProxy serves. The first start has to succeed; it does not when a port is taken."""
        while not self._haproxy.is_serving(self._loaded):
            for pid, status in reap():
                if pid == self._haproxy.pid:
                    raise HAProxyError(f"HAProxy ended with status {status}")
            time.sleep(0.01)

    def _revive(self) -> None:
        """Start the children that are not there: at first all, later those that died."""
        if self._haproxy.pid is None and self._may_start("haproxy"):
            self._haproxy.start()
        if "sshd" not in self._pids and self._may_start("sshd"):
            self._pids["sshd"] = start_sshd(self._settings, self._host_key, self._keys.path, SSHD_POLICY)
        if self._spec.udp_ports and "udp" not in self._pids and self._may_start("udp"):
            self._pids["udp"] = self._udp.start()
        has_taps = any(route.copied_percent for route in self._table.routes)
        if has_taps and "tap" not in self._pids and self._may_start("tap"):
            self._pids["tap"] = self._taps.start()

    def _may_start(self, child: str) -> bool:
        now_s = time.monotonic()
        if now_s - self._starts_s.get(child, -RESTART_S) < RESTART_S:
            return False
        self._starts_s[child] = now_s
        return True

    def _note_end(self, pid: int, status: int) -> None:
        if pid == self._haproxy.pid:
            self._haproxy.pid = None
            log(f"HAProxy ended with status {status}")
        for name in [name for name, child in self._pids.items() if child == pid]:
            del self._pids[name]
            log(f"{name} ended with status {status}")

    def _wake_on_signals(self) -> None:
        """Let signals, a dead child's included, wake the selector; pid 1 has no default actions."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._waker = waker  # keeps it open
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _note_stop(self, _number: int, _frame: object) -> None:
        self._stop_signals += 1
