"""Bodies as text."""

import gzip
import zlib

import pytest

from ktpy.inspect.record import HttpMessage
from ktpy.inspect.text import INFLATED_LIMIT_BYTES, as_text, plain_body


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
