"""Shows the user the exposed ports: whether the local port answers, and how many requests went where."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from ktpy.cluster.service.ports import PortMapping
from ktpy.observe.events import Notice, PortsChanged, Report
from ktpy.observe.status import PortStatus
from ktpy.serve.local_port import LocalPort
from ktpy.serve.local_udp_port import LocalUdpPort
from ktpy.wire.route import TCP, UDP, RouteCounters, ServicePort, total_of

SERVED_TIMEOUT_S = 1.5
"""A gateway tells at once that it sends requests here, an older one within a second."""
MISSED_PAUSE_S = 10.0
"""Requests that a program did not answer are told as often as this, at most."""


@dataclass(slots=True)
class _Missed:
    """What went to the original pods in a local port's place."""

    told: int = 0
    """So many have been told, or came before the gateway sent requests here."""
    was_down: bool = False
    """Whether the local port has been down since they were told."""
    is_steady: bool = False
    """Whether the gateway sent requests here at the last count."""
    quiet_until_s: float = 0.0


class Exposure:
    """An Exposure is the exposed ports of one intercept. It outlives the routes, which come and go."""

    def __init__(
        self,
        mappings: Iterable[PortMapping],
        instead: str,
        report: Report,
        patience_s: float = 0.0,
        *,
        make_port: Callable[..., LocalPort] = LocalPort,
    ) -> None:
        """`instead` says what becomes of requests while the local port does not answer.

        A port that did answer is awaited for `patience_s` first. `make_port` makes a TCP port, as LocalPort.
        """
        self._make_port = make_port
        self._instead = instead
        self._patience_s = patience_s
        self._report = report
        self._reported: tuple[PortStatus, ...] = ()
        self._is_watched = False
        self._live: dict[str, Mapping[ServicePort, RouteCounters]] = {}
        """What each standing route has counted, by the uid of its pod."""
        self._ended: dict[ServicePort, RouteCounters] = {}
        """What routes that are gone had counted."""
        self._counted = asyncio.Event()
        self.local_ports = {one.service_port: self._local_port(one) for one in mappings}
        """By port of the Service."""
        self._missed = {port: _Missed() for port in self.local_ports}
        self._told: dict[ServicePort, str] = {}
        """What was told last of a port."""

    async def look(self) -> None:
        """Probe each local port once."""
        await asyncio.gather(*(local_port.probe() for local_port in self.local_ports.values()))

    async def watch(self) -> None:
        """Probe the local ports until cancelled, and say what changes."""
        self._is_watched = True
        async with asyncio.TaskGroup() as probes:
            for local_port in self.local_ports.values():
                probes.create_task(local_port.watch(), name=f"probe {local_port}")

    def warnings(self, *, is_command_to_come: bool) -> list[str]:
        """Return what the user should know before the intercept starts."""
        found = []
        for port, local_port in self.local_ports.items():
            if local_port.is_up:
                continue
            if local_port.is_privileged:
                found.append(f"{_name(local_port)} is privileged: a program needs root, or a capability, to serve it.")
            if not is_command_to_come:
                found.append(f"Nothing answers on {local_port} yet: until then {self._fate_of(port)}.")
        return found

    # --- routes

    def begin(self, pod_uid: str, counted: Mapping[ServicePort, RouteCounters]) -> None:
        """Note that a route to this pod stands, and what it has counted so far."""
        self._live[pod_uid] = dict(counted)
        self._changed()

    def count(self, pod_uid: str, counted: Mapping[ServicePort, RouteCounters]) -> None:
        """Note what the route to this pod has counted so far, unless that is before `begin` or after `end`."""
        if pod_uid in self._live:
            self._live[pod_uid] = dict(counted)
            self._counted.set()
            self._changed()

    async def until_served(self) -> None:
        """Wait until the gateway sends requests to each local port that answers.

        That is not vital: it ends after SERVED_TIMEOUT_S all the same.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SERVED_TIMEOUT_S):
                while any(port.is_local_up and not port.is_up for port in self.ports()):
                    self._counted.clear()
                    await self._counted.wait()

    def end(self, pod_uid: str) -> None:
        """Note that the route to this pod is gone."""
        for port, counters in self._live.pop(pod_uid).items():
            total = total_of((self._ended.get(port, RouteCounters()), counters))
            self._ended[port] = total._replace(is_up=False)
        self._changed()

    @property
    def routes(self) -> int:
        """How many pods of the gateway lead here."""
        return len(self._live)

    def ports(self) -> tuple[PortStatus, ...]:
        """Each exposed port, as `ktpy status --output json` shows it."""
        return tuple(self._status_of(port, local_port) for port, local_port in self.local_ports.items())

    def _status_of(self, port: ServicePort, local_port: LocalPort | LocalUdpPort) -> PortStatus:
        counted = self._counters(port)
        is_up = local_port.is_up
        state = "up" if is_up else "accepts and closes" if local_port.closes else "down"
        counts = counted.requests, counted.fallbacks
        host, passed = local_port.host, counted.passed
        waiting = local_port.waiting
        missed = counted.dropped, counted.skipped
        reach = is_up, counted.is_up
        return PortStatus(
            port.number,
            local_port.number,
            *reach,
            *counts,
            state,
            host,
            passed,
            waiting,
            port.protocol,
            *missed,
            shortcuts=local_port.shortcuts,
        )

    def local_down(self) -> list[str]:
        """Return the ports whose local ports do not answer."""
        return [str(port) for port, local_port in self.local_ports.items() if not local_port.is_up]

    def silence(self, match: str | None) -> str | None:
        """Say what keeps all requests elsewhere; None where one has come, or the gateway does not tell."""
        total = total_of(map(self._counters, self.local_ports))
        has_shortcuts = any(one.shortcuts for one in self.local_ports.values())
        if (
            has_shortcuts
            or total.passed is None
            or any((total.requests, total.fallbacks, total.dropped, total.skipped))
        ):
            return None
        if total.passed:
            requests = "1 request has" if total.passed == 1 else f"{total.passed} requests have"
            return f"{requests} passed the gateway" + (f", 0 with {match}." if match else ", and none came here yet.")
        return (
            "No request has passed the gateway yet: clients that keep connections from before still talk to the "
            "original pods. --move-clients of exchange and mesh renews those pods; a gateway that stays (ktpy gateway "
            "keep) spares it."
        )

    def _counters(self, port: ServicePort) -> RouteCounters:
        return total_of(of.get(port, RouteCounters()) for of in (self._ended, *self._live.values()))

    def _changed(self) -> None:
        for port, local_port in self.local_ports.items():
            if local_port.is_up:
                self._tell_missed(port, self._missed[port], self._counters(port))
        self._tell_ports()

    def _tell_missed(self, port: ServicePort, missed: _Missed, counted: RouteCounters) -> None:
        """Tell what the original pods answered while the program was away, or though it was there."""
        now_s = asyncio.get_running_loop().time()
        was_there = missed.is_steady and counted.is_up and not missed.was_down
        missed.is_steady = counted.is_up
        if was_there and now_s < missed.quiet_until_s:
            return
        if new := counted.fallbacks - missed.told:
            elsewhere = f"{_count(new, _what_comes(port))} for port {port} went to the original pods"
            if missed.was_down:
                self._report(Notice(f"{elsewhere} meanwhile."))
            elif was_there:
                missed.quiet_until_s = now_s + MISSED_PAUSE_S
                program = f"the program on {self.local_ports[port]}"
                self._report(Notice(f"{elsewhere}: {program} did not answer, though it listens."))
        missed.told, missed.was_down = counted.fallbacks, False

    def _tell_ports(self) -> None:
        ports = self.ports()
        # What passes for others is told while nothing comes here.
        shown = tuple(replace(port, passed=None) if port.requests else port for port in ports)
        if self._is_watched and shown != self._reported:
            self._reported = shown
            self._report(PortsChanged(ports))

    # --- local ports

    def _local_port(self, mapping: PortMapping) -> LocalPort | LocalUdpPort:
        changed = partial(self._local_port_changed, mapping.service_port)
        if mapping.protocol == UDP:
            return LocalUdpPort(mapping.local, changed, host=mapping.host)
        return self._make_port(mapping.local, changed, host=mapping.host, patience_s=self._patience_s)

    def _local_port_changed(self, port: ServicePort) -> None:
        if not self._is_watched:
            return
        local_port = self.local_ports[port]
        if local_port.is_up:
            waited = f"; {_count(local_port.waited, 'connection')} waited for it" if local_port.waited else ""
            self._tell(port, f"answers{waited}.")
            self._missed[port].was_down = True  # also one that was from the start
            self._tell_ports()  # what it has missed is told with the next count, which is complete
        else:
            what = "accepts connections and closes them at once" if local_port.closes else "does not answer any more"
            self._tell(port, f"{what}: {self._fate_of(port)}.")
            self._changed()

    def _tell(self, port: ServicePort, what: str) -> None:
        if self._told.get(port) != what:
            self._told[port] = what
            self._report(Notice(f"{_name(self.local_ports[port])} {what}"))

    def _fate_of(self, port: ServicePort) -> str:
        if self.local_ports[port].is_awaited:
            return f"{_what_comes(port)}s for port {port} wait for it, {self._patience_s:g} s at most"
        return f"{_what_comes(port)}s for port {port} {self._instead}"


def _what_comes(port: ServicePort) -> str:
    return "request" if port.protocol == TCP else "datagram"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _name(local_port: LocalPort | LocalUdpPort) -> str:
    """Return how a sentence about it begins."""
    name = str(local_port)
    return name[0].upper() + name[1:]
