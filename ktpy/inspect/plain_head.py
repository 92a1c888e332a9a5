"""Heads of HTTP/1.1 (RFC 9112) that come whole in one piece and tell how long their body is: nearly all of them.

h11 reads the others, and takes ten times as long for each.
"""

import re
from typing import Final, NamedTuple

from ktpy.inspect.record import Headers

_END: Final = b"\r\n\r\n"
_REQUEST: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/(1\.[01])")
_STATUS: Final = re.compile(r"HTTP/1\.[01] ([2-5][0-9]{2}) [\t -~\x80-\xff]*")
_FIELD: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\s]+(?:[ \t]+[^\x00\s]+)*|)[ \t]*", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_BODILESS: Final = frozenset({204, 304})


class PlainRequest(NamedTuple):
    """A PlainRequest is a request's head."""

    method: str
    path: str
    protocol: str
    headers: Headers
    body_bytes: int


class PlainAnswer(NamedTuple):
    """A PlainAnswer is an answer's head."""

    status: int
    headers: Headers
    body_bytes: int


def plain_request(data: bytes) -> tuple[PlainRequest, bytes] | None:
    """Return the request that the piece begins with, and what follows its head; None for what h11 has to read."""
    if (head := _head(data)) is None:
        return None
    first, fields, rest = head
    line = _REQUEST.fullmatch(first)
    if line is None or line[1] == "CONNECT" or (read := _headers(fields)) is None:
        return None
    headers, body_bytes, hosts = read
    if hosts != 1:
        return None
    return PlainRequest(line[1], line[2], f"http/{line[3]}", headers, body_bytes or 0), rest


def plain_answer(data: bytes, method: str) -> tuple[PlainAnswer, bytes] | None:
    """Return the answer to a request of this method that the piece begins with, as `plain_request` does."""
    if method in ("HEAD", "CONNECT") or (head := _head(data)) is None:
        return None
    first, fields, rest = head
    line = _STATUS.fullmatch(first)
    if line is None or (status := int(line[1])) in _BODILESS or (read := _headers(fields)) is None:
        return None
    headers, body_bytes, _ = read
    return None if body_bytes is None else (PlainAnswer(status, headers, body_bytes), rest)


def _head(data: bytes) -> tuple[str, list[str], bytes] | None:
    head, end, rest = data.partition(_END)
    if not end:
        return None
    first, *fields = head.decode("latin-1").split("\r\n")
    return first, fields, rest


def _headers(fields: list[str]) -> tuple[Headers, int | None, int] | None:
    """Return the headers, how long they say that the body is, and how often there is Host."""
    headers: list[tuple[str, str]] = []
    body_bytes, hosts = None, 0
    for field in fields:
        if (found := _FIELD.fullmatch(field)) is None:
            return None
        name, value = pair = (found[1], found[2])
        headers.append(pair)
        match name.lower():
            case "content-length":
                if body_bytes is not None or not _LENGTH.fullmatch(value):
                    return None
                body_bytes = int(value)
            case "host":
                hosts += 1
            case "transfer-encoding" | "upgrade":
                return None
    return tuple(headers), body_bytes, hosts
