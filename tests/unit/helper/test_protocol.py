"""What may be asked of the helper, and what is refused before anything is done."""

import os
import socket
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_network
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed, TunUnavailable
from ktpy.helper.protocol import (
    DESCRIPTORS_LIMIT,
    MESSAGE_LIMIT_BYTES,
    AddRoutes,
    BindDns,
    DetectResolver,
    Failed,
    KeepOutside,
    OpenTun,
    Reply,
    Request,
    RestoreRoutes,
    RoutesRestored,
    SetResolver,
    TunOpened,
    UndoAll,
    check_domain,
    decode_reply,
    decode_request,
    encode,
    receive_packet,
    send_packet,
)
from ktpy.helper.wire import MessageError

REQUESTS: list[Request] = [
    OpenTun(1500),
    KeepOutside((ip_address("192.0.2.7"), ip_address("2001:db8::7"))),
    RestoreRoutes(),
    AddRoutes((ip_network("10.96.0.0/16"), ip_network("fd96::/108"), ip_network("240.0.0.0/8"))),
    BindDns((ip_address("127.18.0.53"),)),
    DetectResolver(),
    SetResolver((ip_address("127.18.0.53"),), ("a.svc.cluster.local",), ("96.10.in-addr.arpa",), "cluster.local"),
    UndoAll(),
]
REPLIES: list[Reply] = [
    RoutesRestored((ip_network("10.96.0.0/16"),)),
    TunOpened("ktpy0", 0, 7, 1500, IPv4Interface("198.18.0.1/30"), IPv4Address("198.18.0.2"), None, None),
    Failed("TunUnavailable", "No.", None),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_requests_round_trip(request_: Request) -> None:
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_replies_round_trip(reply: Reply) -> None:
    assert decode_reply(encode(reply)) == reply


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "2000::/3",
        "127.0.0.0/8",
        "127.0.0.1/32",
        "0.0.0.0/8",
        "169.254.169.254/32",
        "224.0.0.0/8",
        "239.1.2.3/32",
        "255.0.0.0/8",
        "::1/128",
        "::/64",
        "::ffff:10.0.0.0/104",
        "fe80::/64",
        "ff02::/16",
    ],
)
def test_networks_that_are_never_routed(network: str) -> None:
    with pytest.raises(MessageError):
        AddRoutes((ip_network("10.96.0.0/16"), ip_network(network)))


def test_number_of_networks_is_bounded() -> None:
    many = tuple(ip_network(f"10.{n >> 8}.{n & 255}.0/24") for n in range(4096))
    assert len(encode(AddRoutes(many))) < MESSAGE_LIMIT_BYTES
    for networks in ((), (*many, ip_network("11.0.0.0/24"))):
        with pytest.raises(MessageError, match="allowed"):
            AddRoutes(networks)


@pytest.mark.parametrize("mtu_bytes", [0, 1279, 65536, -1])
def test_mtu_is_bounded(mtu_bytes: int) -> None:
    with pytest.raises(MessageError):
        OpenTun(mtu_bytes)


@pytest.mark.parametrize("name", ["cluster.local", "a", "_dns._udp.x", "A-b.c", "a" * 63, "96.10.in-addr.arpa"])
def test_domain_names(name: str) -> None:
    check_domain(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a\nnameserver 8.8.8.8", "~a", "ä", "a" * 64, "a." * 130]
)
def test_what_is_no_domain_name(name: str) -> None:
    with pytest.raises(MessageError):
        check_domain(name)
    with pytest.raises(MessageError):
        SetResolver((ip_address("127.18.0.53"),), (name,), (), "cluster.local")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff",
        b"null",
        b"{}",
        b'"UndoAll"',
        b'{"UndoAll": {}, "Recover": {}}',
        b'{"UndoAll": null}',
        b'{"Undone": {}}',
        b"[" * 100_000,
        b" " * (MESSAGE_LIMIT_BYTES + 1),
    ],
    ids=lambda packet: packet[:30].decode("latin-1"),
)
def test_what_is_no_request(packet: bytes) -> None:
    with pytest.raises(MessageError):
        decode_request(packet)


def test_error_keeps_its_class_and_hint() -> None:
    error = Failed.of(TunUnavailable("No TUN.", hint="Load it.")).to_error()
    assert type(error) is TunUnavailable
    assert (error.message, error.hint) == ("No TUN.", "Load it.")


def test_unknown_error_class_becomes_a_helper_failure() -> None:
    assert type(Failed("SystemExit", "x", None).to_error()) is HelperFailed


# --- packets


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_packet_brings_its_descriptors_and_they_close_on_exec() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send_packet(ours, b"first", (ours.fileno(),))
        send_packet(ours, b"second")
        packet, [descriptor] = receive_packet(theirs)
        assert packet == b"first"
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
        assert receive_packet(theirs) == (b"second", ())
        ours.close()
        assert receive_packet(theirs) == (b"", ())


@pytest.mark.parametrize(
    ("size_bytes", "descriptors"), [(MESSAGE_LIMIT_BYTES + 1, 0), (1, DESCRIPTORS_LIMIT + 2)], ids=["data", "rights"]
)
def test_packet_too_large_is_refused_and_leaks_nothing(size_bytes: int, descriptors: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        before = open_descriptors()
        send_packet(ours, b"x" * size_bytes, (0,) * descriptors)
        with pytest.raises(MessageError, match="too long"):
            receive_packet(theirs)
        assert open_descriptors() == before
