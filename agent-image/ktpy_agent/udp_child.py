"""The process that relays UDP (`ktpy-agent udp`), as the gateway's supervisor sees it, and what it is told."""

import json
import selectors
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ktpy.wire.route import UDP
from ktpy_agent.relay_child import RelayChild, RelayReport
from ktpy_agent.routes import Route


class UdpRoute(NamedTuple):
    """A UdpRoute is who has the datagrams of a port."""

    name: str
    socket: str | None
    """Leads to the laptop; None while its local port does not answer."""
    fails_when_down: bool


def encode_routes(routes: Mapping[int, UdpRoute]) -> bytes:
    """Render who has which port."""
    return json.dumps(routes).encode()


def parse_routes(message: bytes) -> dict[int, UdpRoute]:
    """Read what `encode_routes` rendered."""
    return {int(port): UdpRoute(*route) for port, route in json.loads(message).items()}


class UdpChild(RelayChild):
    """A UdpChild relays to the original pods until it is told of routes."""

    def __init__(self, selector: selectors.BaseSelector, on_report: Callable[[RelayReport], None]) -> None:
        super().__init__("udp", selector, on_report)

    def lead(self, routes: Iterable[Route], socket_of: Callable[[Route], Path | None]) -> None:
        """Tell it who has which port. Raises OSError when it cannot be told now."""
        self.tell(
            encode_routes(
                {
                    route.port.port: UdpRoute(route.name, str(path) if path else None, route.fails_when_down)
                    for route in routes
                    if route.port.protocol == UDP
                    for path in [socket_of(route)]
                }
            )
        )
