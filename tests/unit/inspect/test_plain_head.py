"""What is read by one look is what h11 reads; what is not plain is left to it."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.inspect import http1
from ktpy.inspect.plain_head import PlainAnswer, PlainRequest, plain_answer, plain_request
from tests.kit.watched import Conversation, split

HOST = b"Host: web\r\n"
names = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"X-a", b"Transfer-Encoding", b"x y", b"", b"Connection", b"Upgrade"]
)
values = st.one_of(
    st.sampled_from([b"web", b"0", b"2", b"5", b"02", b"+2", b"chunked", b" a  b\t", b"close", b"h2c"]),
    st.binary(max_size=4),
)
colons = st.sampled_from([b":", b": ", b" : "])
odd_fields = st.lists(st.builds(lambda *of: b"%b%b%b\r\n" % of, names, colons, values), max_size=4).map(b"".join)
fields = st.one_of(st.sampled_from([b"", b"X-A: b  c \r\nx-e:\r\n"]), odd_fields)
bodies = st.sampled_from([b"", b"ok", b"hello", b"2\r\nok\r\n0\r\n\r\n"])
lengths = st.one_of(st.just(b"Content-Length: %d\r\n"), st.sampled_from([b"", b"Content-Length: 1%d\r\n"]))
methods = st.one_of(
    st.sampled_from([b"GET", b"POST"]), st.sampled_from([b"HEAD", b"CONNECT", b"get", b"M-SEARCH", b"G T"])
)
paths = st.one_of(st.just(b"/a?b=c"), st.sampled_from([b"*", b"", b"/\xe9", b"web:80"]))
versions = st.one_of(st.just(b"HTTP/1.1"), st.sampled_from([b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 "]))
statuses = st.one_of(
    st.sampled_from([b"200 OK", b"404 No\xe9"]),
    st.sampled_from([b"200", b"204 None", b"304 Same", b"100 Continue", b"503 a\x00", b"600 X", b"99 X"]),
)


def whole(head: bytes, length: bytes, body: bytes) -> bytes:
    return head + (length % len(body) if b"%d" in length else length) + b"\r\n" + body


requests = st.builds(
    lambda method, path, version, host, some, length, body: whole(
        b"%b %b %b\r\n%b%b" % (method, path, version, host, some), length, body
    ),
    methods,
    paths,
    versions,
    st.one_of(st.just(HOST), st.sampled_from([b"", HOST])),
    fields,
    lengths,
    bodies,
)
answers = st.builds(
    lambda version, status, some, length, body: whole(b"%b %b\r\n%b" % (version, status, some), length, body),
    versions,
    statuses,
    fields,
    lengths,
    bodies,
)


def told(asked: list[bytes], answered: list[bytes]) -> object:
    talk = Conversation().asks(*asked).answers(*answered).ends()
    return (
        [
            (one.protocol, one.method, one.path, one.status, one.request, one.answer, one.failure)
            for one in talk.open + talk.told
        ],
        talk.reasons,
    )


@settings(deadline=None, max_examples=300)
@given(
    st.lists(requests, min_size=1, max_size=3), st.lists(answers, max_size=3),
    st.lists(st.integers(0, 300), max_size=2), st.lists(st.integers(0, 300), max_size=2),
)  # fmt: skip
def test_it_tells_what_h11_tells(asked: list[bytes], answered: list[bytes], cuts: list[int], more: list[int]) -> None:
    talk = split(b"".join(asked), cuts), split(b"".join(answered), more)
    found = told(*talk)
    with patch.object(http1, "plain_request", lambda _: None), patch.object(http1, "plain_answer", lambda *_: None):
        assert found == told(*talk)


def test_a_plain_request() -> None:
    data = b"POST /p HTTP/1.1\r\nHost:web \r\nContent-Length: 5\r\nX-Empty:\r\n\r\nhello"
    headers = (("Host", "web"), ("Content-Length", "5"), ("X-Empty", ""))
    assert plain_request(data) == (PlainRequest("POST", "/p", "http/1.1", headers, 5), b"hello")


def test_a_plain_answer() -> None:
    assert plain_answer(b"HTTP/1.0 404 \r\nContent-Length: 0\r\n\r\nHTTP", "GET") == (
        PlainAnswer(404, (("Content-Length", "0"),), 0),
        b"HTTP",
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"a: \x00\r\n\r\n",
    ],
)
def test_what_h11_has_to_read(head: bytes) -> None:
    assert plain_request(head) is None


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
        ("GET", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_whose_answer_h11_has_to_read(method: str, head: bytes) -> None:
    assert plain_answer(head, method) is None
