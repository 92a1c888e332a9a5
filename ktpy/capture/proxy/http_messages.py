"""What an HTTP proxy does to requests and answers that pass (RFC 9110, 7.6; RFC 9112, 3.2). Pure.

No Via is added: a server that sees one may answer otherwise than it answers a pod.
"""

import base64
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from h11 import Request, Response

from ktpy.capture.proxy.destination import Destination, Kind

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"}
    | {b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info"}
)
"""These and those that Connection names end here. Transfer-Encoding does too, but h11 frames each hop by it."""
STATUS_OF: Final = {
    Kind.REFUSED: 502,
    Kind.NO_ROUTE: 502,
    Kind.UNREACHABLE: 502,
    Kind.UNKNOWN_NAME: 502,
    Kind.NO_ANSWER: 502,
    Kind.SILENT: 504,
}
_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    504: b"Gateway Timeout",
}


class HttpRefusal(Exception):
    """The proxy answers by itself, with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def tunnel_destination(request: Request) -> Destination:
    """Return where a CONNECT request leads. Raises HttpRefusal."""
    try:
        return Destination.parse(request.target.decode("ascii"))
    except ValueError as error:
        raise HttpRefusal(400, f"CONNECT wants a host and a port: {error}.") from None


def forwarded(request: Request) -> tuple[Destination, Request]:
    """Return where a request with an absolute URL goes, and how it is sent there. Raises HttpRefusal."""
    try:
        url = urlsplit(request.target.decode("ascii"))
        destination = Destination.parse(url.netloc.rpartition("@")[2], 80)
    except ValueError as error:
        raise HttpRefusal(400, f"The URL of the request cannot be read: {error}.") from None
    if url.scheme.lower() != "http":
        raise HttpRefusal(501, f"URLs of {url.scheme}:// go through CONNECT, only http:// is forwarded.")
    target = (url.path or ("*" if request.method == b"OPTIONS" else "/")) + (f"?{url.query}" if url.query else "")
    host = (b"Host", url.netloc.rpartition("@")[2].encode())
    headers = [host, *(header for header in end_to_end(request.headers.raw_items()) if header[0].lower() != b"host")]
    return destination, Request(method=request.method, target=target, headers=headers)


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that are not for this hop only."""
    listed = list(headers)
    named = (value for name, value in listed if name.lower() == b"connection")
    dropped = HOP_BY_HOP | {token.strip().lower() for value in named for token in value.split(b",")}
    return [(name, value) for name, value in listed if name.lower() not in dropped]


def admit(request: Request, login: tuple[str, str] | None) -> None:
    """Raise HttpRefusal for a request without user and password, where they are needed."""
    if login is None:
        return
    wanted = b"Basic " + base64.b64encode(":".join(login).encode())
    given = (value for name, value in request.headers if name == b"proxy-authorization")
    if not any(hmac.compare_digest(value, wanted) for value in given):
        raise HttpRefusal(407, "This proxy is for the user who runs ktpy: its URL has a user and a password in it.")


def answer(status: int, body: bytes, content_type: bytes = b"text/plain; charset=utf-8") -> Response:
    """Return the head of an answer of the proxy's own."""
    headers = [(b"Content-Type", content_type), (b"Content-Length", str(len(body)).encode())]
    if status == 407:
        headers.append((b"Proxy-Authenticate", b'Basic realm="ktpy"'))
    return Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))
