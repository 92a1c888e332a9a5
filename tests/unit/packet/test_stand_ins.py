"""Addresses that stand in for others."""

from ipaddress import ip_address, ip_network

from ktpy.packet.stand_ins import StandIns


def packed(text: str) -> bytes:
    return ip_address(text).packed


def test_an_address_keeps_its_place_in_the_range_and_others_are_their_own() -> None:
    stand_ins = StandIns()
    for network, stand_in in (
        ("10.96.0.0/12", "240.0.0.0/12"),
        ("10.244.0.7/32", "240.16.0.0/32"),
        ("fd96::/108", "fd6b:7472::/108"),
    ):
        stand_ins.add(ip_network(network), ip_network(stand_in))
    assert stand_ins.count == 3
    for real, seen in (
        ("10.96.0.0", "240.0.0.0"),
        ("10.111.255.255", "240.15.255.255"),
        ("10.244.0.7", "240.16.0.0"),
        ("fd96::f:1234", "fd6b:7472::f:1234"),
    ):
        assert (stand_ins.of(packed(real)), stand_ins.real(packed(seen))) == (packed(seen), packed(real))
        assert stand_ins.real_host(seen) == real
    for other in ("10.112.0.0", "10.244.0.8", "240.16.0.1", "fd96::10:0", "::a60:1"):
        assert stand_ins.of(packed(other)) == stand_ins.real(packed(other)) == packed(other)


def test_where_nothing_stands_in_a_host_need_be_no_address() -> None:
    assert StandIns().real_host("web.example") == "web.example"
