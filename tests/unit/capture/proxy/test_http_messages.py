"""Requests and answers as they pass the proxy: what is for the next hop, and what ends here."""

from contextlib import nullcontext

import h11
import pytest

from ktpy.capture.proxy.http_messages import HttpRefusal, admit, answer, end_to_end, forwarded, tunnel_destination

LOGIN = ("ktpy", "secret")


def request(target: str, *headers: tuple[str, str], method: str = "GET") -> h11.Request:
    return h11.Request(method=method, target=target, headers=[("Host", "elsewhere"), *headers])


@pytest.mark.parametrize(
    ("url", "destination", "host", "target"),
    [
        ("http://web/", ("web", 80), b"web", b"/"),
        ("http://web", ("web", 80), b"web", b"/"),
        ("http://web.shop:8080/a%20b?c=/d", ("web.shop", 8080), b"web.shop:8080", b"/a%20b?c=/d"),
        ("HTTP://[fd96::7]/", ("fd96::7", 80), b"[fd96::7]", b"/"),
        ("http://me:secret@web/", ("web", 80), b"web", b"/"),
        ("http://web//x", ("web", 80), b"web", b"//x"),
    ],
)
def test_an_absolute_url_is_what_counts(url: str, destination: tuple[str, int], host: bytes, target: bytes) -> None:
    where, sent = forwarded(request(url, ("Accept", "*/*")))
    assert where == destination
    assert (sent.method, sent.target) == (b"GET", target)
    assert list(sent.headers) == [(b"host", host), (b"accept", b"*/*")]


def test_options_of_the_whole_server() -> None:
    assert forwarded(request("http://web", method="OPTIONS"))[1].target == b"*"


def test_names_of_headers_keep_their_capitals() -> None:
    sent = forwarded(request("http://web/", ("SOAPAction", "x")))[1]
    assert (b"SOAPAction", b"x") in sent.headers.raw_items()


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("https://web/", 501, "go through CONNECT"),
        ("ftp://web/", 501, "only http:// is forwarded"),
        ("http://", 400, "is no name of a host"),
        ("http://web:http/", 400, "'http' is no port"),
        ("http://[fd96::7/", 400, "cannot be read"),
    ],
)
def test_urls_that_are_not_forwarded(url: str, status: int, words: str) -> None:
    with pytest.raises(HttpRefusal, match=words) as refused:
        forwarded(request(url))
    assert refused.value.status == status


def test_what_is_for_this_hop_only() -> None:
    headers = [
        (b"Connection", b"close, X-Hop"),
        (b"connection", b"other"),
        (b"X-Hop", b"1"),
        (b"Other", b"1"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"x"),
        (b"Trailer", b"X-Sum"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Cookie", b"a"),
        (b"Cookie", b"b"),
    ]
    assert end_to_end(headers) == headers[-4:]


@pytest.mark.parametrize(("target", "destination"), [("web:443", ("web", 443)), ("[fd96::7]:443", ("fd96::7", 443))])
def test_a_tunnel(target: str, destination: tuple[str, int]) -> None:
    assert tunnel_destination(request(target, method="CONNECT")) == destination


@pytest.mark.parametrize("target", ["web", "/", "http://web/", ":443"])
def test_a_tunnel_to_nowhere(target: str) -> None:
    with pytest.raises(HttpRefusal, match="CONNECT wants a host and a port") as refused:
        tunnel_destination(request(target, method="CONNECT"))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ([], False),
        ([("Proxy-Authorization", "Basic a3RweTpzZWNyZXQ=")], True),
        ([("Proxy-Authorization", "Basic a3RweTp3cm9uZw==")], False),
        ([("Authorization", "Basic a3RweTpzZWNyZXQ=")], False),
    ],
)
def test_a_login(headers: list[tuple[str, str]], admitted: bool) -> None:
    asked = request("http://web/", *headers)
    admit(asked, None)
    with nullcontext() if admitted else pytest.raises(HttpRefusal, match="a user and a password"):
        admit(asked, LOGIN)


def test_who_has_no_login_is_told_what_is_wanted() -> None:
    head = answer(407, b"x")
    assert (b"proxy-authenticate", b'Basic realm="ktpy"') in list(head.headers)
    assert (head.status_code, head.reason) == (407, b"Proxy Authentication Required")
