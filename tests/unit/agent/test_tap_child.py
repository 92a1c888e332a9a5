"""What the process that sends copies is told; no process is started."""

import selectors
from pathlib import Path

import pytest
from ktpy_agent.routes import Route
from ktpy_agent.tap_child import TapChild, TapRoute, parse_routes

from ktpy.wire.gateway import Port

TAP = Route(1, "s1", "amy", Port(80, "", 8080, "TCP", http=True), None, False, "a1", copied_percent=10)
EXCHANGE = TAP._replace(serial=2, copied_percent=None)
SOCKET = Path("/run/ktpy/routes/s1.sock")


def test_the_process_hears_who_gets_copies_and_ends_when_nobody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes] = []
    monkeypatch.setattr(TapChild, "tell", lambda _, message: told.append(message))
    monkeypatch.setattr(TapChild, "hang_up", lambda _: told.append(b"[]"))
    with selectors.DefaultSelector() as selector:
        taps = TapChild(selector, lambda _: None)
        taps.lead([EXCHANGE, TAP], lambda _: SOCKET)
        taps.lead([TAP], lambda _: None)
        taps.lead([EXCHANGE], lambda _: SOCKET)
    assert [parse_routes(message) for message in told] == [
        [TapRoute("route1", "s1", str(SOCKET))],
        [TapRoute("route1", "s1", None)],
        [],
    ]
