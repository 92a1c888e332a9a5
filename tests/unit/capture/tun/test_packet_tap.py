import asyncio
from ipaddress import ip_address

import pytest

from ktpy.capture.tun import packet_tap
from ktpy.capture.tun.packet_tap import PacketTap
from ktpy.packet.headers import PLAIN_VNET_HEADER
from ktpy.packet.packet_filter import parse_filter
from tests.unit.packet.oracle import own, peer, service, tcp, wire

TO_SERVICE = bytes(wire(tcp((own(4), 40000), (service(4), 80), payload=b"hello")))
FROM_SERVICE = bytes(wire(tcp((service(4), 80), (own(4), 40000))))
TO_ACCEPTOR = bytes(wire(tcp((peer(4), 40000), (own(4), 50000))))
FROM_ACCEPTOR = bytes(wire(tcp((own(4), 50000), (peer(4), 40000))))


def tap(text: str = "", snapshot_bytes: int = 1 << 18) -> PacketTap:
    return PacketTap(parse_filter(text, lambda _: []), snapshot_bytes, [ip_address(peer(4))])


async def test_each_packet_is_seen_once_though_it_goes_through_the_tun_twice() -> None:
    seen = tap()
    for packet, is_sent in ((TO_SERVICE, True), (TO_ACCEPTOR, False), (FROM_ACCEPTOR, True), (FROM_SERVICE, False)):
        seen.see(packet, is_sent=is_sent)
    sent, received = await seen.take(10)
    assert (sent.is_sent, sent.data, sent.length) == (True, TO_SERVICE[10:], len(TO_SERVICE) - 10)
    assert (received.is_sent, received.data) == (False, FROM_SERVICE[10:])
    assert sent.ends == (ip_address(own(4)), ip_address(service(4)))
    assert sent.at_s <= received.at_s


async def test_what_does_not_match_and_what_is_no_packet_is_not_seen() -> None:
    seen = tap("port 80 and src 10.96.0.10")
    seen.see(TO_SERVICE, is_sent=True)
    seen.see(PLAIN_VNET_HEADER + b"\x45", is_sent=True)
    seen.see(FROM_SERVICE, is_sent=False)
    assert [one.is_sent for one in await seen.take(10)] == [False]


async def test_the_first_bytes_may_do() -> None:
    seen = tap(snapshot_bytes=40)
    seen.see(TO_SERVICE, is_sent=True)
    [one] = await seen.take(10)
    assert (len(one.data), one.length) == (40, 45)


async def test_a_buffer_that_is_written_over_changes_nothing() -> None:
    seen, buffer = tap(), bytearray(TO_SERVICE)
    seen.see(memoryview(buffer), is_sent=True)
    buffer[:] = bytes(len(buffer))
    [one] = await seen.take(10)
    assert one.data == TO_SERVICE[10:]


async def test_they_are_taken_as_many_as_are_wanted_and_waited_for() -> None:
    seen = tap()
    for _ in range(3):
        seen.see(TO_SERVICE, is_sent=True)
    assert [len(await seen.take(2)), len(await seen.take(2))] == [2, 1]
    taking = asyncio.create_task(seen.take(2))
    await asyncio.sleep(0)
    assert not taking.done()
    seen.see(FROM_SERVICE, is_sent=False)
    assert len(await taking) == 1


async def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_tap, "MOST_BYTES", 100)
    seen = tap()
    for _ in range(4):
        seen.see(TO_SERVICE, is_sent=True)
    assert (seen.dropped, len(await seen.take(10))) == (2, 2)
    seen.see(TO_SERVICE, is_sent=True)
    assert (seen.dropped, len(await seen.take(10))) == (2, 1)
