"""The bodies of messages as text, where they are text."""

import json
import zlib

from ktpy.inspect.record import BODY_LIMIT_BYTES, HttpMessage

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


def readable(message: HttpMessage) -> str:
    """Return what is kept of the body for people: JSON with a line for each value, text as it is, else a hex dump."""
    body = plain_body(message)
    if (text := as_text(body)) is None:
        return hex_dump(body[:BODY_LIMIT_BYTES])
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False) if text[:1] in "{[" else text
    except (ValueError, RecursionError):
        return text


def hex_dump(body: bytes) -> str:
    """Return lines of 16 bytes, as `hexdump -C` writes them."""
    lines = []
    for at in range(0, len(body), 16):
        row = body[at : at + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{at:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{shown}|")
    return "\n".join(lines)
