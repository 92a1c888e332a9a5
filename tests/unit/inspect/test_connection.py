"""How it is found out what a connection speaks."""

from ktpy.inspect.http2 import PREFACE
from tests.kit.watched import Conversation


def test_tls_is_named_as_what_it_is() -> None:
    assert Conversation().asks(b"\x16\x03\x01\x02\x00").answers(b"\x16").ends().reasons == ["it is TLS"]


def test_a_server_that_speaks_first_is_not_read() -> None:
    talk = Conversation().answers(b"220 mail ready\r\n").asks(b"EHLO me\r\n")
    assert talk.reasons == ["its server speaks first"]


def test_requests_that_are_never_answered_are_not_kept_without_end() -> None:
    """HTTP/1.1 may be pipelined, and HTTP/2 has streams; neither is answered here."""
    frames = b"".join(b"\x00\x00\x01\x01\x05" + number.to_bytes(4) + b"\x82" for number in range(1, 2003, 2))
    for asked in ([b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"] * 1001, [PREFACE, frames]):
        assert Conversation().asks(*asked).reasons == ["too many of its requests are not answered"]


def test_a_server_that_only_speaks_is_given_up() -> None:
    assert Conversation().answers(bytes(70_000)).reasons == ["its server speaks first"]


def test_a_preface_in_pieces_is_waited_for() -> None:
    talk = Conversation().asks(PREFACE[:3], PREFACE[3:]).answers(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    assert talk.ends().reasons == []


def test_a_method_that_begins_like_the_preface() -> None:
    talk = Conversation().asks(b"P", b"UT /a HTTP/1.1\r\nHost: web\r\n\r\n").answers(b"HTTP/1.1 204 No\r\n\r\n")
    assert talk.summary == [("PUT", "/a", 204)]


def test_a_connection_that_says_nothing() -> None:
    talk = Conversation().ends().asks(b"GET / HTTP/1.1\r\n\r\n")
    assert (talk.told, talk.reasons) == ([], [])
