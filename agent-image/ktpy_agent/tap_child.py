"""The process that sends copies to taps (`ktpy-agent tap`), as the gateway's supervisor sees it, and what it is told.

It is there while a tap is.
"""

import json
import selectors
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ktpy_agent.relay_child import RelayChild, RelayReport
from ktpy_agent.routes import Route


class TapRoute(NamedTuple):
    """A TapRoute is who gets copies."""

    name: str
    session: str
    socket: str | None
    """Leads to the laptop; None while its local port does not answer."""


def encode_routes(routes: Iterable[TapRoute]) -> bytes:
    """Render who gets copies."""
    return json.dumps(list(routes)).encode()


def parse_routes(message: bytes) -> list[TapRoute]:
    """Read what `encode_routes` rendered."""
    return [TapRoute(*route) for route in json.loads(message)]


class TapChild(RelayChild):
    def __init__(self, selector: selectors.BaseSelector, on_report: Callable[[RelayReport], None]) -> None:
        super().__init__("tap", selector, on_report)

    def lead(self, routes: Iterable[Route], socket_of: Callable[[Route], Path | None]) -> None:
        """Tell it who gets copies, or let it end where nobody does. Raises OSError when it cannot be told now."""
        taps = [
            TapRoute(route.name, route.session, str(path) if path else None)
            for route in routes
            if route.copied_percent
            for path in [socket_of(route)]
        ]
        if taps:
            self.tell(encode_routes(taps))
        else:
            self.hang_up()
