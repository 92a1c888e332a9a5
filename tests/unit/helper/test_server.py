"""The helper as a script of packets: what it refuses, and how it ends. What it does as root is in tests/net."""

import os
import signal
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network

import pytest

from ktpy.helper import resolver
from ktpy.helper.protocol import (
    AddRoutes,
    BindDns,
    DetectResolver,
    Failed,
    Hello,
    Reply,
    Request,
    Resolver,
    SetResolver,
    UndoAll,
    Undone,
    decode_reply,
    encode,
    receive_packet,
    send_packet,
)
from ktpy.helper.server import Helper

OWNER = 4711
HELLO = Hello(os.getpid(), OWNER)
NOTHING_UNDONE = Undone("", (), (), ())
FOUND = Resolver("resolv.conf", "file", ("192.0.2.1",), (), ())
LOOPBACK = IPv4Address("127.18.0.53")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kept = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(resolver, "detect", lambda: FOUND)
    yield
    signal.signal(signal.SIGTERM, kept)


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
            while packet := receive_packet(self.socket)[0]:
                replies.append(decode_reply(packet))
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
    assert caller.replies() == [HELLO, FOUND, NOTHING_UNDONE]


def test_end_of_file_ends_it_without_a_report(caller: Caller) -> None:
    caller.ask(DetectResolver())
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.run()
    assert caller.replies() == [HELLO, FOUND]


def test_a_caller_that_is_gone(caller: Caller) -> None:
    caller.socket.close()
    assert caller.run()


def refusals(caller: Caller) -> list[str]:
    caller.ask(UndoAll())
    caller.run()
    hello, *failed, undone = caller.replies()
    assert (hello, undone) == (HELLO, NOTHING_UNDONE)
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
    assert caller.replies() == [HELLO, FOUND]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
