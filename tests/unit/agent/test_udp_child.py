"""What the process that relays UDP is told; no process is started."""

import selectors
from pathlib import Path

import pytest
from ktpy_agent.routes import Route
from ktpy_agent.udp_child import UdpChild, UdpRoute, parse_routes

from ktpy.wire.gateway import Port

DNS = Port(53, "dns", 53, "UDP", http=False)
UDP = Route(1, "s1", "amy", DNS, None, fails_when_down=False, token="a1")
TCP = UDP._replace(serial=2, port=DNS._replace(protocol="TCP"))
SOCKET = Path("/run/ktpy/routes/s1.sock")


def test_the_process_hears_who_has_which_udp_port(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes] = []
    monkeypatch.setattr(UdpChild, "tell", lambda _, message: told.append(message))
    with selectors.DefaultSelector() as selector:
        udp = UdpChild(selector, lambda _: None)
        udp.lead([TCP, UDP], lambda _: SOCKET)
        udp.lead([UDP], lambda _: None)
    assert [parse_routes(message) for message in told] == [
        {53: UdpRoute("route1", str(SOCKET), fails_when_down=False)},
        {53: UdpRoute("route1", None, fails_when_down=False)},
    ]
