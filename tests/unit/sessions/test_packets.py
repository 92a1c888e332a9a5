"""What a session answers to `ktpy capture`."""

from base64 import b64decode
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from ktpy.capture.tun.packet_tap import PacketTap
from ktpy.capture.tun.pump import Pump
from ktpy.dns.zone import Zone
from ktpy.errors import KtpyError, NotConnected
from ktpy.packet.packet_filter import Matches
from ktpy.sessions.packets import told_packets
from tests.unit.dns.kube import service
from tests.unit.packet.oracle import own, peer, tcp, wire

WEB = "10.96.0.1"


class Tapped(Pump):
    """A pump without a TUN: what it shows is written to `taps`."""

    def __init__(self) -> None:
        self.taps: list[PacketTap] = []

    @contextmanager
    def tapped(self, matches: Matches, snapshot_bytes: int) -> Iterator[PacketTap]:
        tap = PacketTap(matches, snapshot_bytes, [ip_address(peer(4))])
        self.taps.append(tap)
        try:
            yield tap
        finally:
            self.taps.remove(tap)

    def see(self, packet: Any, *, is_sent: bool) -> None:
        for tap in self.taps:
            tap.see(bytes(wire(packet)), is_sent=is_sent)


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    zone.upsert_service(service("web", "shop", WEB))
    zone.synced = True
    return zone


def asked(pump: Any, zone: Zone | None, text: str = "") -> AsyncGenerator[dict[str, Any]]:
    return told_packets(pump, zone, "shop", {"filter": text, "snapshot_bytes": 1 << 18})


async def test_packets_are_told_with_the_names_of_their_ends_once(zone: Zone) -> None:
    pump = Tapped()
    told = asked(pump, zone)
    assert await anext(told) == {"packets": [], "names": {}, "dropped": 0}
    packet = tcp((own(4), 40000), (WEB, 80))
    pump.see(packet, is_sent=True)
    first = await anext(told)
    [(_, is_sent, length, data)] = first["packets"]
    assert (is_sent, length, b64decode(data)) == (True, 40, bytes(packet))
    assert first["names"] == {WEB: "web.shop.svc.cluster.local"}
    pump.see(tcp((WEB, 80), (own(4), 40000)), is_sent=False)
    second = await anext(told)
    assert ([is_sent for _, is_sent, *_ in second["packets"]], second["names"]) == ([False], {})
    await told.aclose()
    assert pump.taps == []


@pytest.mark.parametrize("name", ["web", "web.shop", "web.shop.svc.cluster.local"])
async def test_a_filter_takes_names_as_programs_do(zone: Zone, name: str) -> None:
    pump = Tapped()
    told = asked(pump, zone, f"host {name}")
    await anext(told)
    for address in ("10.96.0.2", WEB):
        pump.see(tcp((own(4), 40000), (address, 80)), is_sent=True)
    assert list((await anext(told))["names"]) == [WEB]
    await told.aclose()


async def test_a_filter_that_is_none_is_told(zone: Zone) -> None:
    with pytest.raises(KtpyError, match="'wbe' is neither an address nor a name of the cluster"):
        await anext(asked(Tapped(), zone, "host wbe"))


@pytest.mark.parametrize("has_zone", [True, False])
async def test_a_session_without_packets_says_so(zone: Zone, has_zone: bool) -> None:
    pump = None if has_zone else Tapped()
    with pytest.raises(NotConnected, match="The session has no packets"):
        await anext(asked(pump, zone if has_zone else None))
