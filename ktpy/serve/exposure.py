"""The exposed ports as the user sees them: whether the local port answers, and how many requests went where."""

import asyncio
from collections.abc import Iterable
from typing import Any

from ktpy.cluster.service.ports import Exposed
from ktpy.observe.events import Notice, PortsChanged, Report
from ktpy.serve.local_port import PRIVILEGED_BELOW, LocalPort
from ktpy.wire.route import ORIGIN, Counters


class Exposure:
    """Outlives the routes, which come and go."""

    def __init__(self, exposed: Iterable[Exposed], instead: str, report: Report) -> None:
        """`instead` says what becomes of requests while the local port does not answer."""
        self._instead = instead
        self._report = report
        self._told: list[dict[str, Any]] = []
        self._is_watched = False
        self._live: dict[str, dict[int, Counters]] = {}
        """What each standing route has counted, by the uid of its pod."""
        self._ended: dict[int, Counters] = {}
        """What routes that are gone had counted."""
        self._fallbacks_before: dict[int, int] = {}
        """Of each port whose local port does not answer: the count since which."""
        self._back: dict[int, int] = {}
        """The same, of each port whose local port answers again; what it has missed is still to be told."""
        self.local_ports = {one.remote: LocalPort(one.local, self._on_change_of(one.remote)) for one in exposed}

    async def look(self) -> None:
        """Find out, once, which local ports answer."""
        await asyncio.gather(*(local_port.probe() for local_port in self.local_ports.values()))

    async def watch(self) -> None:
        """Probe the local ports until cancelled, and say what changes."""
        self._is_watched = True
        async with asyncio.TaskGroup() as probes:
            for local_port in self.local_ports.values():
                probes.create_task(local_port.watch(), name=f"probe {local_port.number}")

    def warnings(self, *, is_command_to_come: bool) -> list[str]:
        """What the user should know before it starts."""
        found = []
        for port, local_port in self.local_ports.items():
            number = local_port.number
            if local_port.is_up:
                continue
            if number < PRIVILEGED_BELOW:
                found.append(f"Local port {number} is privileged: a program needs root, or a capability, to serve it.")
            if not is_command_to_come:
                found.append(f"Nothing answers on local port {number} yet: until then {self._fate_of(port)}.")
        return found

    # --- routes

    def begin(self, pod_uid: str, counted: dict[int, Counters]) -> None:
        """A route to this pod stands; `counted` is what it counts, which `changed` tells of."""
        self._live[pod_uid] = counted
        self.changed()

    def end(self, pod_uid: str) -> None:
        """The route to this pod is gone."""
        for port, counters in self._live.pop(pod_uid).items():
            total = self._ended.get(port, Counters()) + counters
            self._ended[port] = Counters(total.requests, total.fallbacks)
        self.changed()

    def changed(self) -> None:
        """Report what has changed, if anything has."""
        for port in list(self._back):
            missed = self._counters(port).fallbacks - self._back.pop(port)
            if missed:
                self._report(Notice(f"{missed} requests for port {port} went to the original pods meanwhile."))
        ports = self.ports()
        if self._is_watched and ports != self._told:
            self._told = ports
            self._report(PortsChanged(ports))

    @property
    def routes(self) -> int:
        """How many pods of the gateway lead here."""
        return len(self._live)

    def ports(self) -> list[dict[str, Any]]:
        """As `ktpy status --output json` shows them."""
        described = []
        for port, local_port in self.local_ports.items():
            counters = self._counters(port)
            described.append(
                {
                    "port": port,
                    "local_port": local_port.number,
                    "is_local_up": local_port.is_up,
                    "is_up": counters.is_up,
                    "requests": counters.requests,
                    "fallbacks": counters.fallbacks,
                }
            )
        return described

    def _counters(self, port: int) -> Counters:
        live = [of_pod.get(port, Counters()) for of_pod in self._live.values()]
        return sum(live, start=self._ended.get(port, Counters()))

    # --- local ports

    def _on_change_of(self, port: int) -> Any:
        return lambda: self._local_port_changed(port)

    def _local_port_changed(self, port: int) -> None:
        if not self._is_watched:
            return
        local_port = self.local_ports[port]
        if local_port.is_up:
            self._report(Notice(f"Local port {local_port.number} answers."))
            self.changed()
            self._back[port] = self._fallbacks_before.pop(port, 0)  # told with the next count, which is complete
        else:
            self._fallbacks_before[port] = self._back.pop(port, self._counters(port).fallbacks)
            self._report(Notice(f"Local port {local_port.number} does not answer any more: {self._fate_of(port)}."))
            self.changed()

    def _fate_of(self, port: int) -> str:
        return f"requests for port {port} {self._instead}"


def instead_of(kind: str, when_local_down: str) -> str:
    """What becomes of a request while its local port does not answer."""
    if kind == "preview":
        return "are answered with 503"
    return "go to the original pods" if when_local_down == ORIGIN else "fail, as you asked for"
