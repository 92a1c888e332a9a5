"""The relay's ends, event by event on recorded transports, and its acceptor on real sockets."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from ktpy.capture.tun.relay import FarEnd, NearEnd, Relay, TunAddress

PEER = "198.18.0.2"
PORT = 2000


class Recorder(asyncio.Transport):
    """A transport that notes what it is told. Like an SSH channel's it has no socket."""

    def __init__(self, peername: tuple[str, int] | None = None) -> None:
        super().__init__({"peername": peername})
        self.told: list[str] = []
        self.written = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.written += b"".join(list_of_data)

    def write_eof(self) -> None:
        self.told.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closing = True
        self.told.append("close")

    def abort(self) -> None:
        self.closing = True
        self.told.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


class Pair:
    """A relay with one far end that is expected, and the near end that will come for it."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.relay = Relay([TunAddress("198.18.0.1", PEER)], self.finished.append, accept_timeout_s=10)
        self.far = FarEnd(self.relay, PORT)
        self.far_transport = Recorder()
        self.far.connection_made(self.far_transport)
        self.relay.expect(self.far, now_s=0.0)
        self.near = NearEnd(self.relay)
        self.near_transport = Recorder((PEER, PORT))

    def join(self) -> None:
        self.near.connection_made(self.near_transport)


@pytest.fixture
def waiting() -> Pair:
    return Pair()


@pytest.fixture
def joined() -> Pair:
    pair = Pair()
    pair.join()
    pair.far_transport.told.clear()
    return pair


# --- before the app's connection is there


def test_a_far_end_is_not_read_until_it_is_joined(waiting: Pair) -> None:
    assert waiting.far_transport.told == ["pause"]
    waiting.join()
    assert waiting.far_transport.told == ["pause", "resume"]


def test_what_comes_early_all_the_same_is_kept_in_order_and_stops_the_reading(waiting: Pair) -> None:
    waiting.far.data_received(b"220 ")
    waiting.far.data_received(b"ready")
    assert waiting.far_transport.told == ["pause"] * 3
    waiting.join()
    waiting.far.data_received(b"\r\n")
    assert waiting.near_transport.written == b"220 ready\r\n"


def test_a_pause_that_early_data_causes_outlives_the_join(waiting: Pair) -> None:
    class Full(Recorder):
        def writelines(self, list_of_data: Iterable[Any]) -> None:
            waiting.near.pause_writing()

    waiting.near_transport = Full((PEER, PORT))
    waiting.far.data_received(b"x" * 100_000)
    waiting.join()
    assert waiting.far_transport.told[-1] == "pause"


def test_what_waited_in_an_ssh_channel_does_not_stop_what_follows(waiting: Pair) -> None:
    """A channel hands over what it has held while it resumes, not afterwards."""

    class Holding(Recorder):
        def resume_reading(self) -> None:
            super().resume_reading()
            waiting.far.data_received(b"220 ready")

    waiting.far.transport = transport = Holding()
    waiting.join()
    assert waiting.near_transport.written == b"220 ready"
    assert transport.told[-1] == "resume"


def test_an_early_end_of_stream_is_passed_on_after_the_early_data(waiting: Pair) -> None:
    waiting.far.data_received(b"bye")
    assert waiting.far.eof_received() is True
    waiting.join()
    assert waiting.near_transport.written == b"bye"
    assert waiting.near_transport.told == ["eof"]


@pytest.mark.parametrize(("error", "verb"), [(None, "close"), (ConnectionResetError(), "abort")])
def test_a_far_end_lost_early_ends_the_app_when_it_comes(waiting: Pair, error: Exception | None, verb: str) -> None:
    waiting.far.connection_lost(error)
    waiting.join()
    assert waiting.near_transport.told == [verb]
    assert waiting.finished == []
    waiting.near.connection_lost(None)
    assert waiting.finished == [PORT]


def test_an_app_that_never_comes_is_given_up_after_its_time(waiting: Pair) -> None:
    waiting.relay.expire(9.9)
    assert waiting.finished == []
    waiting.relay.expire(10.0)
    assert waiting.far_transport.told[-1] == "abort"
    assert waiting.finished == [PORT]
    waiting.join()
    assert waiting.near_transport.told == ["abort"]


def test_expiry_does_not_touch_a_joined_connection(joined: Pair) -> None:
    joined.relay.expire(1e9)
    assert joined.far_transport.told == []


# --- who may come


@pytest.mark.parametrize("peername", [("198.18.0.1", PORT), (PEER, PORT + 1), ("127.0.0.1", PORT), None])
def test_a_stranger_is_reset_and_takes_nothing(waiting: Pair, peername: tuple[str, int] | None) -> None:
    stranger = Recorder(peername)
    NearEnd(waiting.relay).connection_made(stranger)
    assert stranger.told == ["abort"]
    waiting.join()
    assert waiting.near_transport.told == []


def test_a_flow_is_claimed_once(joined: Pair) -> None:
    second = Recorder((PEER, PORT))
    NearEnd(joined.relay).connection_made(second)
    assert second.told == ["abort"]


# --- joined


def test_bytes_go_both_ways_and_are_counted(joined: Pair) -> None:
    joined.near.data_received(b"question")
    joined.far.data_received(b"answer!")
    assert joined.far_transport.written == b"question"
    assert joined.near_transport.written == b"answer!"
    assert (joined.relay.traffic.sent_bytes, joined.relay.traffic.received_bytes) == (8, 7)


def test_each_side_holds_the_other_back(joined: Pair) -> None:
    joined.near.pause_writing()
    joined.near.resume_writing()
    assert joined.far_transport.told == ["pause", "resume"]
    joined.far.pause_writing()
    joined.far.resume_writing()
    assert joined.near_transport.told == ["pause", "resume"]


def test_holding_back_a_side_that_is_gone_is_no_mistake(joined: Pair) -> None:
    joined.far.connection_lost(None)
    joined.near_transport.told.clear()
    joined.far_transport.closing = True
    joined.near.pause_writing()
    joined.near.resume_writing()
    assert joined.far_transport.told == []


def test_a_half_close_is_passed_on_and_the_other_direction_stays(joined: Pair) -> None:
    assert joined.near.eof_received() is True
    assert joined.far_transport.told == ["eof"]
    assert joined.near_transport.told == []
    joined.far.data_received(b"late answer")
    assert joined.near_transport.written == b"late answer"


def test_both_ends_of_stream_close_both_sides(joined: Pair) -> None:
    joined.far.eof_received()
    joined.near.eof_received()
    assert joined.near_transport.told == ["eof", "close"]
    assert joined.far_transport.told == ["close"]


def test_a_reset_of_one_side_resets_the_other(joined: Pair) -> None:
    joined.far.connection_lost(ConnectionResetError())
    assert joined.near_transport.told == ["abort"]


def test_a_side_that_closed_in_order_closes_the_other_in_order(joined: Pair) -> None:
    joined.far.connection_lost(None)
    assert joined.near_transport.told == ["close"]


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_connection_is_finished_once_when_both_sides_are_gone(joined: Pair, first: str) -> None:
    ends = [joined.near, joined.far] if first == "near" else [joined.far, joined.near]
    ends[0].connection_lost(None)
    assert joined.finished == []
    ends[1].connection_lost(None)
    assert joined.finished == [PORT]


def test_abort_resets_both_sides(joined: Pair) -> None:
    joined.relay.abort(PORT)
    assert joined.near_transport.told == ["abort"]
    assert joined.far_transport.told == ["abort"]


def test_abort_of_a_port_that_is_gone_is_no_mistake(joined: Pair) -> None:
    joined.relay.abort(PORT + 1)


def test_abort_all_resets_the_joined_the_expected_and_those_to_come() -> None:
    joined, waiting = Pair(), Pair()
    joined.join()
    for pair in (joined, waiting):
        pair.relay.abort_all()
        assert pair.far_transport.told[-1] == "abort"
    assert joined.near_transport.told == ["abort"]
    assert waiting.finished == [PORT]
    waiting.join()
    assert waiting.near_transport.told == ["abort"]


# --- the acceptor


async def test_the_acceptor_joins_real_connections() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    finished = asyncio.Event()
    relay = Relay([TunAddress("127.0.0.1", "127.0.0.1")], lambda _: finished.set())
    (port,) = await relay.listen()
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    with socket.socket() as app:
        app.bind(("127.0.0.1", 0))
        far = FarEnd(relay, app.getsockname()[1])
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: far, "127.0.0.1", server.sockets[0].getsockname()[1])
        relay.expect(far, 0.0)
        app.setblocking(False)
        await loop.sock_connect(app, ("127.0.0.1", port))
        await loop.sock_sendall(app, b"loud")
        app.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(app, 100) == b"LOUD"
        assert await loop.sock_recv(app, 100) == b""
    await asyncio.wait_for(finished.wait(), 5)
    relay.close()
    server.close()


async def test_close_stops_accepting() -> None:
    relay = Relay([TunAddress("127.0.0.1", "127.0.0.1")], lambda _: None)
    (port,) = await relay.listen()
    relay.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
