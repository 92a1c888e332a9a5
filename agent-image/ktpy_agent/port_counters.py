"""What a gateway counts on each port for each laptop is made of what it counts for routes. Pure."""

from collections.abc import Callable, Iterable

from ktpy.wire.route import RouteCounters, ServicePort
from ktpy_agent.counters import Counters
from ktpy_agent.routes import Route


class PortCounters:
    def __init__(self, of_routes: Counters) -> None:
        self._of_routes = of_routes
        self._names: dict[ServicePort, set[str]] = {}
        """The names of all routes that there have ever been, but taps, and of what no route takes."""
        self._passed_before: dict[str, dict[ServicePort, int]] = {}
        """What had passed each port when a session's routes began."""

    def add(self, routes: Iterable[Route]) -> None:
        """Take note of routes before any request comes to them."""
        for route in routes:
            names = self._names.setdefault(route.service_port, {f"origin{route.service_port}"})
            if not route.copied_percent:
                names.add(route.name)

    def begin(self, session: str, routes: Iterable[Route]) -> None:
        """Count what passes the ports of a session from now on."""
        self._passed_before[session] = {route.service_port: self._passed(route.service_port) for route in routes}

    def end(self, session: str) -> None:
        self._passed_before.pop(session, None)

    def of_sessions(
        self, routes: Iterable[Route], is_alive: Callable[[Route], bool]
    ) -> dict[str, dict[ServicePort, RouteCounters]]:
        """Return each session's counters by port; several matches on one port count together.

        `is_alive` tells whether a route's laptop could serve.
        """
        counted: dict[str, dict[ServicePort, RouteCounters]] = {}
        passed = {port: self._passed(port) for port in self._names}
        for route in routes:
            by_port = counted.setdefault(route.session, {})
            count = self._of_routes.count(route.name)
            # A worker that is new takes every server to be up until its first check.
            is_up = is_alive(route) and self._of_routes.is_up(route.name)
            port = route.service_port
            so_far = by_port.get(port, RouteCounters(is_up=True))
            by_port[port] = RouteCounters(
                so_far.requests + count.requests,
                so_far.fallbacks + count.fallbacks,
                so_far.is_up and is_up,
                passed[port] - self._passed_before.get(route.session, {}).get(port, 0),
                so_far.dropped + count.dropped,
                so_far.skipped + count.skipped,
            )
        return counted

    def _passed(self, port: ServicePort) -> int:
        """Return how many requests have been answered on a port, by anybody."""
        counts = map(self._of_routes.count, self._names[port])
        return sum(count.requests + count.fallbacks for count in counts)
