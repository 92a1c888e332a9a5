"""What is told of a request: frozen values, which cross the control socket as JSON and are printed as such."""

import base64
from dataclasses import dataclass, fields
from typing import Any

BODY_LIMIT_BYTES = 64 << 10
"""So much of each body is kept."""
MASK = "***"
SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"}
    | {"x-amz-security-token", "x-csrf-token", "x-xsrf-token"}
)
Headers = tuple[tuple[str, str], ...]
_HALVES = ("request", "answer")


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """An HttpMessage is a request's half, or its answer's."""

    headers: Headers = ()
    size: int = 0
    """Bytes of the body as they were sent, without chunks' frames."""
    body: bytes = b""
    """At most the first BODY_LIMIT_BYTES of it."""
    messages: int | None = None
    """How many messages of gRPC or WebSocket; None elsewhere."""

    @property
    def is_whole(self) -> bool:
        return len(self.body) == self.size

    def header(self, name: str) -> str | None:
        """Return the value of the first header of that name, in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRequest:
    """A WatchedRequest is one request with its answer, as it passed between the gateway and a local port."""

    id: int
    """Counts in its session, from 1."""
    port: int
    """Of the Service."""
    local_port: int
    protocol: str
    """`http/1.0`, `http/1.1`, `h2`, `grpc`, `websocket`, or another that an Upgrade named."""
    method: str
    path: str
    began_s: float
    """Since 1970."""
    waited_s: float | None
    """From the request's head to the answer's."""
    took_s: float
    """From the request's head to the answer's last byte."""
    status: int | None
    """None without an answer."""
    grpc_status: int | None = None
    request: HttpMessage
    answer: HttpMessage
    failure: str | None = None
    """Why it did not end as it should."""
    is_open: bool = False
    """Whether more of the answer is to come: a WebSocket, or a stream of events. It is told again when it ends."""

    @property
    def sender(self) -> str:
        """Who sent it, as far as it says so itself: what a proxy before the Service noted, or else its program."""
        for name in ("x-forwarded-for", "x-real-ip"):
            if value := self.request.header(name):
                return value.partition(",")[0].strip()
        return (self.request.header("user-agent") or "-").partition(" ")[0]


_REQUEST_FIELDS = tuple(field.name for field in fields(WatchedRequest))


def to_object(told: WatchedRequest, *, bodies: bool, secrets: bool) -> dict[str, Any]:
    """Return it as JSON: a `body` is base64, or null where it is not asked for; secrets are masked unless asked for."""
    found = {name: getattr(told, name) for name in _REQUEST_FIELDS}  # asdict copies every header, for 0.1 ms
    for half in _HALVES:
        message: HttpMessage = getattr(told, half)
        found[half] = {
            "headers": [list(pair) for pair in (message.headers if secrets else masked(message.headers))],
            "size": message.size,
            "body": base64.b64encode(message.body).decode() if bodies else None,
            "messages": message.messages,
        }
    return found


def from_object(value: dict[str, Any]) -> WatchedRequest:
    """Return the request of a JSON object; the inverse of `to_object`, in a third of `ktpy.observe.codec`'s time."""
    known = {name: value[name] for name in _REQUEST_FIELDS if name in value}
    return WatchedRequest(**{**known, **{half: _message(value[half]) for half in _HALVES}})


def _message(value: dict[str, Any]) -> HttpMessage:
    headers = tuple([(name, content) for name, content in value["headers"]])
    body = base64.b64decode(value["body"]) if value["body"] else b""
    return HttpMessage(headers, value["size"], body, value.get("messages"))


def masked(headers: Headers) -> Headers:
    """Return the headers with MASK in the place of what is secret."""
    return tuple((name, MASK if name.lower() in SECRET_HEADERS else value) for name, value in headers)
