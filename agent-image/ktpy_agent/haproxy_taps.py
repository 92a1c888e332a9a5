"""Taps: what HAProxy is told about them, and what it tells of each request that is to be copied. Pure.

HAProxy does not mirror. A filter that asks an agent (SPOE) would hold each request until that answers. So a request
that is to be copied is one line of a log. The log is a ring in HAProxy's memory, which it writes without waiting for
whoever reads: where that is nobody, or a process that hangs, lines are lost. It writes the line when the answer begins,
or the request has failed.

The rules of `tcp-request content` look at every request before those of HTTP do, and only they can wait for a body
without an error when it does not come (`http-request wait-for-body` would answer 408).
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_BODY_BYTES = 32 << 10
"""A request with a longer body is not copied: a line has at most 64 KB, and bytes take 4/3 of their size in it."""
BODY_WAIT_MS = 50
"""An original waits at most this long for its client to send the rest of a body which is short enough.

A client without TCP_NODELAY waits for Linux's delayed acknowledgement of the request's head, which takes 40.
"""
MARK = b"x-ktpy-tap"
"""The header of each copy. What bears it is never copied."""
BAGGAGE = b"ktpy-tap"
"""The same in the W3C header `baggage`, which tracing libraries pass on from service to service."""
_IS_SHORT = f"{{ var(txn.tap_size) -m int 1:{MAX_BODY_BYTES} }}"
_RING_BYTES = 4 << 20
_LINE_BYTES = 65535
_END = b"."
"""The last word of a line that was not cut short."""
# Of one connection (RFC 9110, 7.6.1), or about the body as the client sent it.
_NOT_COPIED = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade http2-settings content-length expect".split()
)
_WITH_BODY = (b"POST ", b"PUT ", b"PATCH ")
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)")


class Share(NamedTuple):
    """A Share is which of a port's requests a tap gets."""

    name: str
    percent: int
    definitions: Sequence[str]
    """The lines that define the ACLs."""
    conditions: Sequence[Sequence[str]]
    """Alternatives, each the names of ACLs that have to hold."""


class Tapped(NamedTuple):
    """A Tapped is a request that is to be copied."""

    names: tuple[str, ...]
    """The routes of the taps."""
    start: bytes
    """The request line and the headers that a copy has, with the last one's end; empty for what is not copied."""
    body: bytes

    def copy_for(self, session: str) -> bytes:
        """Render the copy for a tap, with a mark by which it is known for one wherever it is passed on."""
        mark = session.encode()
        fields = b"%b: %b\r\nbaggage: %b=%b\r\nconnection: close\r\n\r\n" % (MARK, mark, BAGGAGE, mark)
        return self.start + fields + self.body


def socket_path(run_dir: str) -> str:
    """Return where HAProxy's lines are read."""
    return f"{run_dir}/taps.sock"


def ring(run_dir: str) -> list[str]:
    """Render the log, which all ports share."""
    return [
        "ring taps",
        "  format raw",
        f"  maxlen {_LINE_BYTES}",
        f"  size {_RING_BYTES}",
        "  timeout connect 1s",
        "  timeout server 10s",
        f"  server agent unix@{socket_path(run_dir)} log-proto octet-count",
        "",
    ]


def choice(shares: Iterable[Share]) -> list[str]:
    """Render which requests are copied to whom: the part before all rules of HTTP, so that no rule has changed them.

    WebSocket and gRPC are not copied: a tunnel and a stream have no end.
    """
    lines = [
        f"  log ring@taps len {_LINE_BYTES} format raw daemon",
        "  option logasap",
        '  log-format "%[var(txn.taps),base64] %[var(txn.tap_line),base64] %[var(txn.tap_head),base64]'
        f' %[var(txn.tap_body),base64] {_END.decode()}"',
        f"  tcp-request inspect-delay {BODY_WAIT_MS}ms",
        f"  tcp-request content accept if {{ req.hdr({MARK.decode()}) -m found }}",
        f"  tcp-request content accept if {{ req.fhdr(baggage) -m reg -- '(^|,)[ \\t]*{BAGGAGE.decode()}=' }}",
        "  tcp-request content accept if { req.hdr(upgrade) -m found }",
        "  tcp-request content accept if { req.hdr(content-type) -m beg -i application/grpc }",
        "  tcp-request content accept if { method CONNECT }",
        "  tcp-request content set-var(txn.tap_draw) rand(100) unless { var(txn.tap_draw) -m found }",
    ]
    for share in shares:
        lines += share.definitions
        for names in share.conditions:
            drawn = f"{{ var(txn.tap_draw) -m int lt {share.percent} }} !{{ var(txn.taps) -m sub -- ' {share.name},' }}"
            value = f'"%[var(txn.taps)] {share.name},"'
            lines.append(f"  tcp-request content set-var-fmt(txn.taps) {value} if {' '.join((drawn, *names))}")
    return [
        *lines,
        "  tcp-request content accept unless { var(txn.taps) -m found }",
        '  tcp-request content set-var-fmt(txn.tap_line) "%[method] %[pathq]"',
        "  tcp-request content set-var(txn.tap_head) req.hdrs",
        "  tcp-request content accept if { req.hdr(expect) -m found }",
        "  tcp-request content set-var(txn.tap_size) req.hdr_val(content-length)",
        f"  tcp-request content accept unless {_IS_SHORT}",
        "  tcp-request content accept if WAIT_END or { req.body_len,sub(txn.tap_size) ge 0 }",
        "  http-request set-log-level silent",
    ]


def telling(is_handed_on: str) -> list[str]:
    """Render what writes the line, of requests that no rule before has refused and no other process serves."""
    return [
        f"  http-request set-var(txn.tap_body) req.body if {_IS_SHORT} {{ req.body_len,sub(txn.tap_size) eq 0 }}",
        "  http-request set-log-level info if { var(txn.taps) -m found }",
        f"  http-request set-log-level silent if {is_handed_on}",
    ]


def parse(line: bytes) -> Tapped | None:
    """Read a line of HAProxy's; None for one about no request that is to be copied."""
    words = line.rstrip(b"\n").split(b" ")
    try:
        names = tuple(b64decode(words[0], validate=True).decode().replace(",", "").split())
        if len(words) != 5 or words[4] != _END:  # cut short: its headers are too long
            return Tapped(names, b"", b"") if names else None
        start, head, body = (b64decode(word, validate=True) if word != b"-" else b"" for word in words[1:4])
    except (Base64Error, UnicodeDecodeError):
        return None
    return Tapped(names, _start(start, _FIELD.findall(head), len(body)), body)


def _start(line: bytes, fields: list[tuple[bytes, bytes]], body_bytes: int) -> bytes:
    """Return how a copy begins; nothing where the body is not whole, or too long.

    A request of HTTP/2 need not say how long its body is, nor whether it has one.
    """
    declared = b"" if line.startswith(_WITH_BODY) else b"0"
    for name, value in fields:
        if name == b"transfer-encoding":
            return b""
        if name == b"content-length":
            declared = value
    if not declared.isdigit() or int(declared) != body_bytes:
        return b""
    kept = [b"%b: %b\r\n" % (name, value) for name, value in fields if name not in _NOT_COPIED]
    if any(name == b"content-length" for name, _ in fields):
        kept.append(b"content-length: %d\r\n" % body_bytes)
    return b"%b HTTP/1.1\r\n" % line + b"".join(kept)
