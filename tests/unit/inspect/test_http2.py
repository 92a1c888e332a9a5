"""What is read of HTTP/2 in clear text, which two real ends speak (h2)."""

from collections.abc import Callable

import h2.config
import h2.connection
import h2.settings
import pytest

from ktpy.inspect.draft import UNFINISHED
from ktpy.inspect.http2 import PREFACE
from tests.kit.watched import Conversation

HEADERS = [(":method", "POST"), (":path", "/shop.Cart/Add"), (":scheme", "http"), (":authority", "cart")]
GRPC = [*HEADERS, ("content-type", "application/grpc")]
MESSAGE = b"\x00\x00\x00\x00\x03abc"


class Ends:
    """A client and a server whose bytes pass the conversation, in pieces of at most `piece` bytes."""

    def __init__(self, piece: int = 1 << 16) -> None:
        self.talk = Conversation()
        self._piece = piece
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.client.initiate_connection()
        self.server.initiate_connection()

    def flow(self) -> None:
        """Carry over what both have to say, until they are silent."""
        while (answered := self.server.data_to_send()) or (asked := self.client.data_to_send()):
            if answered:
                self._carry(answered, self.talk.answers, self.client)
            else:
                self._carry(asked, self.talk.asks, self.server)

    def _carry(self, data: bytes, show: Callable[[bytes], object], to: h2.connection.H2Connection) -> None:
        to.receive_data(data)
        for at in range(0, len(data), self._piece):
            show(data[at : at + self._piece])

    def answer(self, stream: int, body: bytes, *trailers: tuple[str, str]) -> None:
        self.server.send_headers(stream, [(":status", "200"), ("server", "demo")])
        self.server.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.server.send_headers(stream, list(trailers), end_stream=True)
        self.flow()


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_a_request_and_its_answer(piece: int) -> None:
    ends = Ends(piece)
    ends.client.send_headers(1, HEADERS)
    ends.client.send_data(1, b"in", end_stream=True)
    ends.flow()
    ends.answer(1, b"out")
    [told] = ends.talk.told
    assert (told.protocol, told.method, told.path, told.status) == ("h2", "POST", "/shop.Cart/Add", 200)
    assert (told.request.headers, told.answer.headers) == ((("host", "cart"),), (("server", "demo"),))
    assert (told.request.body, told.answer.body, told.request.messages) == (b"in", b"out", None)


def test_calls_of_grpc_at_the_same_time() -> None:
    ends = Ends()
    for stream in (1, 3):
        ends.client.send_headers(stream, GRPC)
        ends.client.send_data(stream, MESSAGE[:4])
    for stream in (1, 3):
        ends.client.send_data(stream, MESSAGE[4:] + MESSAGE, end_stream=True)
    ends.flow()
    ends.answer(3, MESSAGE, ("grpc-status", "0"))
    ends.answer(1, MESSAGE * 3, ("grpc-status", "13"), ("grpc-message", "no"))
    assert [(one.protocol, one.request.messages, one.answer.messages, one.grpc_status) for one in ends.talk.told] == [
        ("grpc", 2, 1, 0),
        ("grpc", 2, 3, 13),
    ]
    assert ("grpc-message", "no") in ends.talk.told[1].answer.headers


def test_an_error_of_grpc_that_is_only_a_head() -> None:
    ends = Ends()
    ends.client.send_headers(1, GRPC, end_stream=True)
    ends.flow()
    ends.server.send_headers(1, [(":status", "200"), ("grpc-status", "12")], end_stream=True)
    ends.flow()
    assert [one.grpc_status for one in ends.talk.told] == [12]


def test_long_headers_that_go_on_in_further_frames() -> None:
    ends = Ends()
    ends.client.send_headers(1, [*HEADERS, ("x-long", "\u00e9" * 20_000)], end_stream=True)
    ends.flow()
    ends.answer(1, b"")
    assert len(dict(ends.talk.told[0].request.headers)["x-long"]) == 40_000


def test_informational_answers_are_not_the_answer() -> None:
    ends = Ends()
    ends.client.send_headers(1, HEADERS, end_stream=True)
    ends.flow()
    ends.server.send_headers(1, [(":status", "103")])
    ends.answer(1, b"out")
    assert [one.status for one in ends.talk.told] == [200]


def test_an_end_may_pack_with_the_table_that_the_other_allows() -> None:
    ends = Ends()
    ends.server.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 65_536})
    ends.flow()
    for stream in (1, 3):
        ends.client.send_headers(stream, [*HEADERS, ("x-long", "a" * 9_000)], end_stream=True)
        ends.flow()
        ends.answer(stream, b"")
    assert (len(ends.talk.told), ends.talk.reasons) == (2, [])


@pytest.mark.parametrize("resets", ["client", "server"])
def test_a_stream_that_is_reset(resets: str) -> None:
    ends = Ends()
    ends.client.send_headers(1, HEADERS, end_stream=True)
    ends.flow()
    getattr(ends, resets).reset_stream(1, error_code=8)
    ends.flow()
    assert [(one.status, one.failure) for one in ends.talk.told] == [(None, "its stream was reset (code 8)")]


def test_a_connection_that_ends_too_early() -> None:
    ends = Ends()
    ends.client.send_headers(1, HEADERS)
    ends.flow()
    assert [one.failure for one in ends.talk.ends().told] == [UNFINISHED]


def test_what_is_pushed_is_unpacked_for_what_follows() -> None:
    ends = Ends()
    ends.client.send_headers(1, HEADERS, end_stream=True)
    ends.flow()
    ends.server.push_stream(1, 2, [(":method", "GET"), (":path", "/css"), (":scheme", "http"), (":authority", "cart")])
    ends.flow()
    ends.answer(1, b"out")
    assert [one.status for one in ends.talk.told] == [200]


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # longer than any
        b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82",  # goes on with nothing
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff",  # headers that nobody can unpack
    ],
)
def test_frames_that_are_none_end_the_watching(frame: bytes) -> None:
    talk = Conversation().asks(PREFACE, frame).ends()
    assert talk.told == []
    assert len(talk.reasons) == 1
    assert talk.reasons[0].startswith("it is no HTTP (")


def test_a_connection_from_before_is_not_read() -> None:
    talk = Conversation(is_new=False).asks(PREFACE, b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82").ends()
    assert (talk.told, talk.reasons) == ([], [])
