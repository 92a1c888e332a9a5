"""What the relay does about links that come and go, and about channels that are none of its laptops'."""

import errno
import socket

import pytest

from ktpy.wire.flows import ANSWER, CONTROL, FLOW, GONE, RESUME, RESUMED, TOKEN_BYTES, Note
from tests.unit.agent.flow_laptop import TOKEN, Laptop, Target, receive

OTHER = b"x" * TOKEN_BYTES


@pytest.fixture
def server(laptop: Laptop) -> socket.socket:
    """The pod's side of flow 1, whose link is lost."""
    target = Target(laptop)
    channel = laptop.dial(target.port)
    server = target.accept()
    assert laptop.hear(ANSWER).value == 0
    laptop.lose_link(channel)
    return server


def assert_is_reset(laptop: Laptop, server: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        receive(laptop, server, 1)


def test_flows_wait_and_keep_the_pod_alive_until_their_time_is_over(laptop: Laptop, server: socket.socket) -> None:
    laptop.turn()
    registration, _ = laptop.register.accept()
    laptop.now_s += 599
    laptop.turn()
    assert server.send(b"they wait") == 9
    laptop.now_s += 1
    assert_is_reset(laptop, server)
    assert registration.recv(1) == b"", "nothing keeps the pod alive any more"
    assert not laptop.relay.sessions


def test_a_new_link_takes_over(laptop: Laptop, server: socket.socket) -> None:
    laptop.turn()
    registration, _ = laptop.register.accept()
    laptop.link()
    laptop.tell(Note(RESUME, 1, 0), Note(RESUMED, 0))
    assert laptop.hear(RESUME).value == 0
    laptop.turn()
    assert registration.recv(1) == b""
    laptop.now_s += 1000
    channel = laptop.channel(FLOW, 1)
    channel.send(b"on")
    assert receive(laptop, server, 2) == b"on"


def test_flows_that_the_laptop_does_not_name_are_reset(laptop: Laptop, server: socket.socket) -> None:
    laptop.link()
    laptop.tell(Note(RESUMED, 0))
    assert_is_reset(laptop, server)


def test_a_flow_that_is_not_known_is_gone(laptop: Laptop) -> None:
    laptop.tell(Note(RESUME, 5, 0), Note(RESUMED, 0))
    assert laptop.hear(GONE, 5).value == errno.ECONNRESET


def test_the_old_link_seems_to_stand_when_the_new_one_comes(laptop: Laptop) -> None:
    """Nothing tells sshd of a laptop that has changed its network."""
    target = Target(laptop)
    old = laptop.dial(target.port)
    server = target.accept()
    old.send(b"one")
    assert receive(laptop, server, 3) == b"one"
    laptop.link()
    laptop.tell(Note(RESUME, 1, 0), Note(RESUMED, 0))
    assert laptop.hear(RESUME).value == 3
    channel = laptop.channel(FLOW, 1)
    channel.send(b"two")
    assert receive(laptop, server, 3) == b"two"
    assert receive(laptop, old, 1) == b"", "it is closed"


@pytest.mark.parametrize(
    ("kind", "number", "token"),
    [(FLOW, 1, OTHER), (FLOW, 2, TOKEN), (9, 1, TOKEN)],
    ids=["another session's", "no such flow", "no such kind"],
)
def test_a_channel_that_leads_nowhere_is_closed(laptop: Laptop, kind: int, number: int, token: bytes) -> None:
    assert receive(laptop, laptop.channel(kind, number, token), 1) == b""


def test_nobody_gets_at_the_flows_of_another_session(laptop: Laptop, server: socket.socket) -> None:
    other = laptop.channel(CONTROL, 600, OTHER)
    other.send(Note(RESUME, 1, 0).encoded() + Note(RESUMED, 0).encoded())
    assert receive(laptop, other, 29) == Note(GONE, 1, errno.ECONNRESET).encoded()
    assert server.send(b"it waits for its own") > 0


def test_an_opening_that_comes_in_pieces_or_never(laptop: Laptop) -> None:
    target = Target(laptop)
    whole = laptop.dial(target.port)
    target.accept()
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silent.connect(str(laptop.path))
    for byte in bytes([FLOW]) + TOKEN:
        silent.send(bytes([byte]))
        laptop.turn()
    silent.close()
    laptop.turn()
    whole.send(b"x")
    laptop.turn()
    assert set(laptop.relay.sessions) == {TOKEN}


def test_there_are_not_many_sessions(laptop: Laptop) -> None:
    others = [laptop.channel(CONTROL, 1, bytes([number]) * TOKEN_BYTES) for number in range(1, 17)]
    assert receive(laptop, others[-1], 1) == b""
