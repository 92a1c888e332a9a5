"""Echo requests and replies, as scapy builds and reads them."""

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from ktpy.packet.headers import Drop
from ktpy.packet.icmp import Echo, parse_echo, quoted, reply_of
from tests.unit.packet.oracle import own, parse, recomputed, service


def request(family: int, payload: bytes = b"x" * 56) -> Any:
    if family == 4:
        return IP(src=own(4), dst=service(4)) / ICMP(id=7, seq=3) / Raw(payload)
    return IPv6(src=own(6), dst=service(6)) / ICMPv6EchoRequest(id=7, seq=3, data=payload)


def parsed(packet: Any, cut_bytes: int = 0) -> Echo | Drop:
    data = bytearray(bytes(10) + bytes(packet))
    return parse_echo(data, len(data) - cut_bytes)


def expected(family: int, payload: bytes = b"x" * 56) -> Echo:
    return Echo(ip_address(own(family)).packed, ip_address(service(family)).packed, 7, 3, payload)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_a_request(family: int, size: int) -> None:
    assert parsed(request(family, b"x" * size)) == expected(family, b"x" * size)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 56, 65507])
def test_a_reply(family: int, size: int) -> None:
    answer = parse(reply_of(expected(family, b"y" * size)))
    assert (answer.src, answer.dst) == (own(family), service(family))
    assert bytes(answer) == recomputed(answer)
    layer = answer[ICMP] if family == 4 else answer[ICMPv6EchoReply]
    assert (layer.type, layer.id, layer.seq) == (0 if family == 4 else 129, 7, 3)
    assert bytes(answer).endswith(b"y" * size)


@pytest.mark.parametrize("family", [4, 6])
def test_what_an_error_quotes(family: int) -> None:
    assert parsed(parse(quoted(expected(family)))) == expected(family, b"")


def test_what_else_there_is() -> None:
    assert parsed(IP(src=own(4), dst=service(4)) / ICMP(type=3, code=3) / IP() / UDP()) is Drop.UNSUPPORTED
    assert parsed(IPv6(src=own(6), dst=service(6)) / ICMPv6DestUnreach()) is Drop.UNSUPPORTED
    assert parsed(IP(src=own(4), dst=service(4), flags="MF") / ICMP(id=7, seq=3)) is Drop.FRAGMENT


@pytest.mark.parametrize("family", [4, 6])
def test_a_request_that_is_cut_off(family: int) -> None:
    assert parsed(request(family, b""), cut_bytes=1) is Drop.MALFORMED
