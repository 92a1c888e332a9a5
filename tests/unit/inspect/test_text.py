"""Bodies as text."""

import gzip
import zlib

import pytest

from ktpy.inspect.record import HttpMessage
from ktpy.inspect.text import INFLATED_LIMIT_BYTES, as_text, plain_body, readable


def packed(body: bytes, encoding: str) -> HttpMessage:
    return HttpMessage((("Content-Encoding", encoding),), len(body), body)


@pytest.mark.parametrize(
    ("body", "encoding"), [(gzip.compress(b"hello"), "gzip"), (zlib.compress(b"hello"), "deflate"), (b"hello", "br")]
)
def test_what_is_packed_is_unpacked(body: bytes, encoding: str) -> None:
    assert plain_body(packed(body, encoding)) == b"hello"


def test_the_beginning_of_what_is_packed() -> None:
    assert plain_body(packed(gzip.compress(b"hello" * 100)[:-8], "gzip")).startswith(b"hello")


def test_what_is_not_packed_as_it_says() -> None:
    assert plain_body(packed(b"hello", "gzip")) == b"hello"


def test_unpacking_is_bounded() -> None:
    assert len(plain_body(packed(gzip.compress(bytes(4 << 20)), "gzip"))) == INFLATED_LIMIT_BYTES


@pytest.mark.parametrize(
    ("body", "text"), [("é".encode(), "é"), ("aé".encode()[:-1], "a"), (b"a\0", None), (b"\xff\xff\xff\xff\xffx", None)]
)
def test_as_text(body: bytes, text: str | None) -> None:
    assert as_text(body) == text


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"a":[1,"\xc3\xa9"]}', '{\n  "a": [\n    1,\n    "\xe9"\n  ]\n}'),
        (b"[1", "[1"),
        (b"[" * 60_000, "[" * 60_000),
        (b"12", "12"),
        (b"", ""),
        (
            bytes(range(18)),
            "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n"
            "00000010  10 11                                             |..|",
        ),
        (b"\xff<a>", "00000000  ff 3c 61 3e                                       |.<a>|"),
    ],
)
def test_a_body_for_people(body: bytes, shown: str) -> None:
    assert readable(HttpMessage((), len(body), body)) == shown
