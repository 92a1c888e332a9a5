"""What HAProxy tells of a request, and the copy that is made of it."""

from base64 import b64encode

import pytest
from ktpy_agent.haproxy_taps import Tapped, parse

HEAD = b"host: web\r\nconnection: keep-alive\r\nx-empty:\r\nbaggage: a=b\r\n%b\r\n"


def line(head: bytes = b"", body: bytes | None = None, start: bytes = b"POST /a?b=c") -> bytes:
    words = [b" route1, route12,", start, HEAD % head, body]
    return b" ".join([b64encode(word) if word is not None else b"-" for word in words]) + b" .\n"


def test_a_copy_has_the_request_and_a_mark_and_nothing_of_its_connection() -> None:
    tapped = parse(line(b"content-length: 2\r\nte: trailers\r\n", b"hi"))
    assert tapped is not None
    assert tapped.names == ("route1", "route12")
    assert tapped.copy_for("ab12") == (
        b"POST /a?b=c HTTP/1.1\r\nhost: web\r\nx-empty: \r\nbaggage: a=b\r\ncontent-length: 2\r\n"
        b"x-ktpy-tap: ab12\r\nbaggage: ktpy-tap=ab12\r\nconnection: close\r\n\r\nhi"
    )


@pytest.mark.parametrize(
    ("start", "head", "body", "is_copied"),
    [
        (b"GET /", b"", None, True),
        (b"GET /", b"content-length: 2\r\n", b"hi", True),
        (b"PUT /", b"content-length: 0\r\n", None, True),
        (b"PUT /", b"", None, False),
        (b"PUT /", b"content-length: 2\r\n", None, False),
        (b"PUT /", b"content-length: 3\r\n", b"hi", False),
        (b"PUT /", b"content-length: +2\r\n", b"hi", False),
        (b"GET /", b"transfer-encoding: chunked\r\n", None, False),
    ],
)
def test_a_request_whose_body_is_not_whole_is_not_copied(
    start: bytes, head: bytes, body: bytes | None, is_copied: bool
) -> None:
    tapped = parse(line(head, body, start))
    assert tapped is not None
    assert bool(tapped.start) is is_copied


def test_lines_that_are_cut_short_or_about_nothing() -> None:
    whole = line(start=b"GET /")
    assert parse(whole[:-3]) == Tapped(("route1", "route12"), b"", b"")
    for useless in (b"", b"-", b"- - - - .", b"!!!", whole[:5], b"/w== - - - ."):
        assert parse(useless) is None
