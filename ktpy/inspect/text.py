"""The bodies of messages as text, where they are text."""

import zlib

from ktpy.inspect.record import HttpMessage

INFLATED_LIMIT_BYTES = 1 << 20
"""So much of a packed body is shown; a few bytes may be packed zeros without end."""
_GZIP = 16 + zlib.MAX_WBITS


def plain_body(message: HttpMessage) -> bytes:
    """Return what is kept of the body, unpacked where it is gzip or deflate."""
    encoding = (message.header("content-encoding") or "").lower()
    if encoding not in ("gzip", "deflate"):
        return message.body
    try:
        return zlib.decompressobj(_GZIP if encoding == "gzip" else zlib.MAX_WBITS).decompress(
            message.body, INFLATED_LIMIT_BYTES
        )
    except zlib.error:
        return message.body


def as_text(body: bytes) -> str | None:
    """Return the body as text; None where it is none. A character that the end has cut is left away."""
    for cut in range(4):
        try:
            text = body[: len(body) - cut].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None
