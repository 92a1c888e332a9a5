"""The helper as a script of packets: what it refuses, and how it ends. What it does as root is in tests/net."""

import os
import signal
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import cast

import pytest
from pyroute2 import NetlinkError

from ktpy.helper import changes, dns_sockets, flow_program, resolved, resolver, routes, tun
from ktpy.helper.journal import Journal
from ktpy.helper.protocol import (
    AddRoutes,
    BindDns,
    DetectResolver,
    Failed,
    Hello,
    KeepOutside,
    KeptOutside,
    OpenTun,
    Reply,
    Request,
    Resolver,
    RoutesAdded,
    SetResolver,
    TunOpened,
    UndoAll,
    Undone,
    decode_reply,
    encode,
    receive_packet,
    send_packet,
)
from ktpy.helper.server import Helper
from ktpy.helper.wire import Network

OWNER = 4711
NOTHING_UNDONE = Undone("", (), (), ())
FOUND = Resolver("resolv.conf", "file", ("192.0.2.1",), (), ())
LOOPBACK = IPv4Address("127.18.0.53")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kept = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(resolver, "detect", lambda: FOUND)
    yield
    signal.signal(signal.SIGTERM, kept)


def hello() -> Hello:
    return Hello(os.getpid(), OWNER)


class Caller:
    """The other end: all its packets are there before the helper runs."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)

    def ask(self, *requests: Request) -> None:
        for request in requests:
            send_packet(self.socket, encode(request))

    def run(self) -> bool:
        return Helper(self.theirs, OWNER).run()

    def replies(self) -> list[Reply]:
        replies: list[Reply] = []
        try:
            while (received := receive_packet(self.socket))[0]:
                replies.append(decode_reply(received[0]))
                for descriptor in received[1]:
                    os.close(descriptor)
        except BlockingIOError:
            pass
        return replies


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller()
    with caller.socket, caller.theirs:
        yield caller


def test_it_says_hello_answers_in_order_and_reports(caller: Caller) -> None:
    caller.ask(DetectResolver(), UndoAll())
    assert caller.run()
    assert caller.replies() == [hello(), FOUND, NOTHING_UNDONE]


def test_end_of_file_ends_it_without_a_report(caller: Caller) -> None:
    caller.ask(DetectResolver())
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.run()
    assert caller.replies() == [hello(), FOUND]


def test_a_caller_that_is_gone(caller: Caller) -> None:
    caller.socket.close()
    assert caller.run()


def refusals(caller: Caller) -> list[str]:
    caller.ask(UndoAll())
    caller.run()
    said, *failed, undone = caller.replies()
    assert (said, undone) == (hello(), NOTHING_UNDONE)
    return [reply.message for reply in failed if isinstance(reply, Failed)]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (AddRoutes((ip_network("10.96.0.0/16"),)), "The helper has no TUN device yet."),
        (SetResolver((LOOPBACK,), (), (), "cluster.local"), "The helper has no TUN device yet."),
        (
            BindDns((IPv4Address("127.0.0.1"),)),
            "The helper binds port 53 on 127.18.0.0/16 and its TUN, not on 127.0.0.1.",
        ),
    ],
)
def test_what_is_out_of_order_is_refused(caller: Caller, request_: Request, message: str) -> None:
    caller.ask(request_)
    assert refusals(caller) == [message]


def test_what_is_no_request_is_refused_and_the_next_is_served(caller: Caller) -> None:
    caller.socket.send(b'{"Format": {"disk": "/dev/sda"}}')
    caller.socket.send(b'{"AddRoutes": {"networks": ["0.0.0.0/0"]}}')
    assert refusals(caller) == [
        "The helper refused a request: there is no message 'Format'.",
        "The helper refused a request: 0.0.0.0/0 is as wide as a default route.",
    ]


def test_descriptors_are_refused_and_closed(caller: Caller) -> None:
    reader, writer = os.pipe()
    send_packet(caller.socket, encode(DetectResolver()), (writer,))
    os.close(writer)
    assert refusals(caller) == ["The helper refused a request: no request brings descriptors."]
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


def test_a_failure_of_the_machine_is_told(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Resolver:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(resolver, "detect", fail)
    caller.ask(DetectResolver())
    assert refusals(caller) == ["The helper could not do DetectResolver: [Errno 5] Input/output error."]


def test_a_bug_is_told_and_does_not_end_it(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[str] = []

    def fail() -> Resolver:
        raise AssertionError("a bug")

    monkeypatch.setattr(resolver, "detect", fail)
    monkeypatch.setattr("ktpy.helper.server._complain", complaints.append)
    caller.ask(DetectResolver())
    assert refusals(caller) == ["The helper failed unexpectedly in DetectResolver."]
    assert "AssertionError: a bug" in complaints[0]


def test_sigterm_ends_it_between_two_requests(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def detect() -> Resolver:
        os.kill(os.getpid(), signal.SIGTERM)
        return FOUND

    monkeypatch.setattr(resolver, "detect", detect)
    caller.ask(DetectResolver(), DetectResolver())
    assert caller.run()
    assert caller.replies() == [hello(), FOUND]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


@pytest.fixture
def asked_of_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a helper asks of a kernel that refuses nothing."""
    asked: list[str] = []

    def add_routes(_index: int, networks: Iterable[Network]) -> None:
        asked.append(f"add {len(list(networks))} routes")

    def set_up_link(planned: TunOpened, _alias: str) -> TunOpened:
        return planned

    def set_up_resolver(journal: Journal, _wanted: SetResolver, link: str, alias: str) -> Resolver:
        with changes.recorded(journal, changes.ResolvedLink(link, alias)):
            return FOUND

    create = Journal.create
    monkeypatch.setattr(Journal, "create", lambda owner_uid: create(owner_uid, tmp_path))
    monkeypatch.setattr(resolver, "set_up", set_up_resolver)
    monkeypatch.setattr(resolved, "revert", lambda link: asked.append(f"revert {link}"))
    monkeypatch.setattr(dns_sockets, "bind", lambda _address: ())
    monkeypatch.setattr(tun, "open_device", lambda _name: os.open(os.devnull, os.O_RDWR))
    monkeypatch.setattr(flow_program, "attach", lambda _index: os.open(os.devnull, os.O_RDWR))
    for name, fake in {
        "link_names": set[str],
        "local_addresses": list[str],
        "set_up_link": set_up_link,
        "add_routes": add_routes,
        "is_ours": lambda _name, _alias: True,
        "delete_link": lambda name, _alias: asked.append(f"delete {name}"),
    }.items():
        monkeypatch.setattr(routes, name, fake)
    return asked


def test_routes_go_with_their_device_at_once_after_the_resolver_is_put_back(
    caller: Caller, asked_of_kernel: list[str]
) -> None:
    caller.ask(OpenTun(1500), *(AddRoutes((ip_network(f"10.{number}.0.0/16"),)) for number in range(100)))
    caller.ask(BindDns((LOOPBACK,)), SetResolver((LOOPBACK,), (), (), "cluster.local"), UndoAll())
    assert caller.run()
    assert asked_of_kernel == ["add 1 routes"] * 100 + ["revert ktpy0", "delete ktpy0"]


@pytest.mark.usefixtures("asked_of_kernel")
@pytest.mark.parametrize("refusal", [None, PermissionError(), NetlinkError(95)])
def test_a_kernel_that_turns_no_packets_round_gives_a_tun_all_the_same(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, refusal: Exception | None
) -> None:
    def refuse(_index: int) -> int:
        raise cast(Exception, refusal)

    if refusal is not None:
        monkeypatch.setattr(flow_program, "attach", refuse)
    caller.ask(OpenTun(1500), UndoAll())
    assert caller.run()
    receive_packet(caller.socket)
    packet, descriptors = receive_packet(caller.socket)
    assert isinstance(decode_reply(packet), TunOpened)
    assert len(descriptors) == (2 if refusal is None else 1)
    for descriptor in descriptors:
        os.close(descriptor)


def test_what_has_a_route_already_is_not_routed_once_more(caller: Caller, asked_of_kernel: list[str]) -> None:
    networks = tuple(map(ip_network, ["10.96.0.0/16", "10.97.0.0/16"]))
    caller.ask(OpenTun(1500), AddRoutes(networks[:1]), AddRoutes(networks), UndoAll())
    assert caller.run()
    assert asked_of_kernel == ["add 1 routes", "add 1 routes", "delete ktpy0"]


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ("192.0.0.0/16", "192.0.0.0/16 holds 192.0.2.1, a name server of this machine"),
        ("203.0.0.0/16", "203.0.0.0/16 holds 203.0.113.1, the way to the API server"),
        ("11.0.0.0/8 12.0.0.0/8 13.0.0.0/8", "together the routes would be wider than 4 ranges /8 of IPv4"),
    ],
)
def test_the_helpers_own_rules_count_what_is_routed_already(
    caller: Caller, asked_of_kernel: list[str], networks: str, why: str
) -> None:
    caller.ask(
        OpenTun(1500),
        KeepOutside((IPv4Address("203.0.113.1"),)),
        AddRoutes((ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12"))),
        AddRoutes(tuple(map(ip_network, networks.split()))),
        AddRoutes((ip_network("192.0.0.0/24"),)),  # it still serves
        UndoAll(),
    )
    assert caller.run()
    *_, kept, added, refused, added_later, _undone = caller.replies()
    assert (kept, added, added_later) == (KeptOutside(), RoutesAdded(), RoutesAdded())
    assert isinstance(refused, Failed)
    assert (refused.error, refused.message) == ("RangeOverlap", f"The helper added no route: {why}.")
    assert asked_of_kernel == ["add 2 routes", "add 1 routes", "delete ktpy0"]
