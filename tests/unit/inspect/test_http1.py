"""What is read of HTTP/1.1: whatever pieces it comes in, and whatever it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.inspect.draft import UNFINISHED
from tests.kit.watched import Conversation, split

GET = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\n...\r\n0\r\nSum: 1\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"
POST_CHUNKED = b"POST /c HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
TEXT, PING, PART, END = b"\x81\x02hi", b"\x89\x00", b"\x01\x02hi", b"\x80\x02hi"
MASKED = b"\x81\x82\x00\x00\x00\x00hi"


def test_a_request_and_its_answer() -> None:
    talk = Conversation().asks(POST).answers(OK)
    [told] = talk.told
    assert talk.summary == [("POST", "/p", 200)]
    assert (told.protocol, told.request.body, told.answer.body, told.failure) == ("http/1.1", b"hello", b"ok", None)
    assert told.request.headers == (("Host", "web"), ("Content-Length", "5"))
    assert told.waited_s is not None
    assert 0 <= told.waited_s <= told.took_s


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 500)), st.lists(st.integers(0, 500)))
def test_pieces_make_no_difference(cuts: list[int], more: list[int]) -> None:
    """A kept connection, with bodies of every kind; the answers come after the requests, as if they were pipelined."""
    talk = Conversation()
    talk.asks(*split(GET + POST + POST_CHUNKED + HEAD + GET, cuts))
    talk.answers(*split(CHUNKED + OK + b"HTTP/1.1 204 No Content\r\n\r\n" + OK[:-2] + OK, more))
    assert talk.summary == [
        ("GET", "/a", 200),
        ("POST", "/p", 200),
        ("POST", "/c", 204),
        ("HEAD", "/a", 200),
        ("GET", "/a", 200),
    ]
    assert [one.request.body for one in talk.told] == [b"", b"hello", b"hello", b"", b""]
    assert [one.answer.body for one in talk.told] == [b"ok...", b"ok", b"", b"", b"ok"]
    assert talk.reasons == []


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_end_with_their_head(status: int) -> None:
    talk = Conversation().asks(GET).answers(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status)
    assert talk.summary == [("GET", "/a", status)]


def test_a_client_that_waits_for_100_continue() -> None:
    head, body = POST[:-5].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), POST[-5:]
    talk = Conversation().asks(head).answers(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert talk.told == []
    assert talk.asks(body).answers(OK).told[0].request.body == b"hello"


def test_an_answer_before_the_request_has_ended() -> None:
    talk = Conversation().asks(POST[:-3]).answers(OK).asks(POST[-3:])
    assert talk.summary == [("POST", "/p", 200)]
    assert talk.asks(GET).answers(OK).summary[1:] == [("GET", "/a", 200)]


def test_an_answer_that_ends_with_the_connection() -> None:
    talk = Conversation().asks(b"GET /old HTTP/1.0\r\n\r\n").answers(b"HTTP/1.0 200 OK\r\n\r\nall", b" of it")
    assert talk.told == []
    [told] = talk.ends().told
    assert (told.protocol, told.answer.body, told.failure) == ("http/1.0", b"all of it", None)


@pytest.mark.parametrize("answer", [b"", OK[:10], OK[:-1]])
def test_a_connection_that_ends_too_early(answer: bytes) -> None:
    talk = Conversation().asks(GET, GET).answers(answer).ends()
    assert [one.failure for one in talk.told] == [UNFINISHED, UNFINISHED]


def test_the_end_of_a_quiet_connection_says_nothing() -> None:
    talk = Conversation().asks(GET).answers(OK).ends()
    assert (len(talk.told), talk.reasons) == (1, [])


def test_a_websocket_is_told_when_it_opens_and_when_it_ends() -> None:
    talk = Conversation().asks(UPGRADE).answers(SWITCHED + TEXT[:1], TEXT[1:] + PING + PART, END)
    talk.asks(MASKED[:3], MASKED[3:] + MASKED)
    [opened] = talk.open
    assert (opened.protocol, opened.status, opened.is_open) == ("websocket", 101, True)
    [told] = talk.ends().told
    assert (told.request.messages, told.answer.messages, told.failure) == (2, 2, None)


def test_an_upgrade_that_is_refused_is_a_request_like_any() -> None:
    talk = Conversation().asks(UPGRADE).answers(OK).asks(GET).answers(OK)
    assert talk.summary == [("GET", "/ws", 200), ("GET", "/a", 200)]


def test_a_stream_of_events_is_told_when_it_begins() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    talk = Conversation().asks(GET).answers(head)
    assert [one.is_open for one in talk.open] == [True]
    assert talk.answers(b"0\r\n\r\n").told[0].is_open is False


def test_only_the_beginning_of_a_body_is_kept() -> None:
    size = 100_000
    talk = Conversation().asks(GET).answers(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))
    answer = talk.told[0].answer
    assert (answer.size, len(answer.body), answer.is_whole) == (size, 64 << 10, False)


@pytest.mark.parametrize("asked", [b"GET /a\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nHost web\r\n\r\n"])
def test_what_is_no_request_is_not_read(asked: bytes) -> None:
    talk = Conversation().asks(asked, GET).answers(OK).ends()
    assert talk.told == []
    assert len(talk.reasons) == 1
    assert talk.reasons[0].startswith("it is no HTTP/1.1 (")


@pytest.mark.parametrize("answer", [b"220 mail ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_answer_is_not_read(answer: bytes) -> None:
    talk = Conversation().asks(GET).answers(answer)
    assert (talk.told, len(talk.reasons)) == ([], 1)


def test_an_answer_to_nothing_is_not_read() -> None:
    assert Conversation().asks(GET).answers(OK + OK).reasons == ["its server speaks first"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40))))
def test_noise_is_borne(pieces: list[tuple[bool, bytes]]) -> None:
    talk = Conversation()
    for is_asked, piece in pieces:
        (talk.asks if is_asked else talk.answers)(piece)
    assert len(talk.ends().reasons) <= 1


class TestKept:
    """A connection that was there before."""

    def test_it_begins_with_a_whole_request_that_is_answered(self) -> None:
        talk = Conversation(is_new=False).answers(b"the rest of an answer").asks(GET).answers(OK).asks(POST).answers(OK)
        assert talk.summary == [("GET", "/a", 200), ("POST", "/p", 200)]

    def test_the_middle_of_an_upload_begins_nothing(self) -> None:
        """It may look like a request, but nobody answers that at once."""
        talk = Conversation(is_new=False).asks(b"abc", GET, b"more").answers(OK)
        assert talk.told == []
        assert talk.asks(GET).answers(OK).summary == [("GET", "/a", 200)]

    @pytest.mark.parametrize(
        "piece", [POST[:-1], POST + b"x", GET + GET, b"GET nothing\r\n\r\n", b"GET / HTTP/1.1\r\nx\r\n\r\n"]
    )
    def test_a_piece_that_is_not_one_request_begins_nothing(self, piece: bytes) -> None:
        talk = Conversation(is_new=False).asks(piece).answers(OK).ends()
        assert (talk.told, talk.reasons) == ([], [])

    def test_an_answer_of_another_protocol_begins_nothing(self) -> None:
        assert Conversation(is_new=False).asks(GET).answers(b"+OK\r\n").ends().told == []

    def test_its_end_is_told_of_what_is_left(self) -> None:
        talk = Conversation(is_new=False).asks(GET).answers(OK).asks(GET).ends()
        assert [one.failure for one in talk.told] == [None, UNFINISHED]
