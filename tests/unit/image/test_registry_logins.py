"""Where logins go, and where not: a registry that lies. Real ones are in tests/component/image/test_registry.py."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ktpy.errors import RegistryRefused
from ktpy.image import name
from ktpy.image.login import Login
from ktpy.image.name import ImageName
from ktpy.image.registry import Registry
from tests.unit.image.images import make_image

LOGIN = Login("al", "p", "config.json")


@dataclass
class Liar:
    """A registry without TLS that answers as it is told; `seen` are requests with their Authorization."""

    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    host: str = ""

    def image(self) -> ImageName:
        return name.parse(f"{self.host}/a", "1")


@pytest.fixture
def liars() -> Iterator[tuple[Liar, Liar]]:
    """Two: what the first leads to is the second."""
    pair, servers = (Liar(), Liar()), []
    for liar in pair:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(liar))
        liar.host = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    yield pair
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(liar: Liar) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = self.path.partition("?")[0]
            liar.seen.append((self.command, path, self.headers["Authorization"]))
            known = liar.answers.get(f"{self.command} {path}") or liar.answers.get(self.command) or (200, {}, b"")
            status, headers, body = known
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def push(liar: Liar, login: Login | None = LOGIN) -> str:
    return Registry(liar.image(), login, plain_http=True).push(make_image(b"x"), lambda _: None)


def test_an_upload_elsewhere_takes_no_login_along(liars: tuple[Liar, Liar]) -> None:
    liar, other = liars
    liar.answers |= {
        "GET": (401, {"WWW-Authenticate": 'Basic realm="r"'}, b""),
        "HEAD": (404, {}, b""),
        "POST": (202, {"Location": f"http://{other.host}/upload?x=1"}, b""),
    }
    other.answers["PUT"] = (201, {}, b"")
    with pytest.raises(RegistryRefused, match=r"does not accept the login of al in config.json"):
        push(liar)
    liar.answers.pop("GET")
    liar.answers["HEAD"] = (401, {"WWW-Authenticate": 'Basic realm="r"'}, b"")
    with pytest.raises(RegistryRefused):
        push(liar)
    assert {login for *_, login in liar.seen} == {None, LOGIN.basic}
    liar.answers["HEAD"] = (404, {}, b"")
    with pytest.raises(RegistryRefused, match=r"took the image .* but does not have it"):
        push(liar)
    assert other.seen == [("PUT", "/upload", None)] * 2


def test_a_token_server_without_tls_gets_no_login_but_on_the_loopback(
    liars: tuple[Liar, Liar], monkeypatch: pytest.MonkeyPatch
) -> None:
    liar, other = liars
    liar.answers["GET"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{other.host}/t",service="s"'}, b"")
    other.answers["GET"] = (200, {}, b'{"access_token": "T"}')
    with pytest.raises(RegistryRefused, match="does not accept"):
        push(liar)
    assert other.seen == [("GET", "/t", LOGIN.basic)]
    assert liar.seen[-1] == ("GET", "/v2/", "Bearer T")
    monkeypatch.setattr(ImageName, "is_here", False)
    registry = Registry(liar.image(), LOGIN)
    registry._url = f"http://{liar.host}"  # as if TLS had been spoken: the realm alone is plain
    with pytest.raises(RegistryRefused, match=r"would get the login of .* without TLS; it was not sent"):
        registry.push(make_image(b"x"), print)
    assert len(other.seen) == 1


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            403,
            b'{"errors": [{"code": "DENIED", "message": "no rights."}]}',
            r"does not let .* push to a \(no rights\)\.",
        ),
        (404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', r"has no repository a \(NAME_UNKNOWN\)\."),
        (413, b"<html>", "takes no layer of this size"),
        (301, b"", "answered 301 Moved Permanently"),
        (500, b"[]", "answered 500 Internal Server Error"),
    ],
)
def test_refusals_are_sentences(liars: tuple[Liar, Liar], status: int, body: bytes, sentence: str) -> None:
    liar, _ = liars
    liar.answers |= {"HEAD": (404, {}, b""), "POST": (status, {}, body)}
    with pytest.raises(RegistryRefused, match=sentence):
        push(liar, None)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("file:///etc/passwd#", r"names no place for an upload \(file:///etc/passwd#\)"),
        ("ftp://127.0.0.1:1/a", "names no place for an upload"),
        ("http://[", "names no place for an upload"),
    ],
)
def test_nothing_is_opened_that_is_not_of_http(liars: tuple[Liar, Liar], place: str, sentence: str) -> None:
    liar, _ = liars
    liar.answers |= {"HEAD": (404, {}, b""), "POST": (202, {"Location": place}, b"")}
    with pytest.raises(RegistryRefused, match=sentence):
        push(liar)
    liar.answers["GET"] = (401, {"WWW-Authenticate": f'Bearer realm="{place}"'}, b"")
    with pytest.raises(RegistryRefused, match="names no server that gives tokens"):
        push(liar)


def test_a_token_that_is_none(liars: tuple[Liar, Liar]) -> None:
    liar, other = liars
    liar.answers["GET"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{other.host}/t"'}, b"")
    for token in (b'"a\\nb: c"', b'"\\u4e00"', b"[]"):
        other.answers["GET"] = (200, {}, b'{"token": %b}' % token)
        with pytest.raises(RegistryRefused, match=f"{other.host} answered no token for {liar.host}"):
            push(liar)


def test_what_was_changed_on_its_way(liars: tuple[Liar, Liar]) -> None:
    liar, _ = liars
    liar.answers["PUT"] = (201, {"Docker-Content-Digest": "sha256:0"}, b"")
    with pytest.raises(RegistryRefused, match="it was changed on its way"):
        push(liar)
