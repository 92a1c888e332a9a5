"""The request for a port-forward and its answers; what each refusal means is in test_port_forward."""

import ssl

import pytest

from ktpy.errors import ApiRefused, ApiUnreachable, Forbidden, Unauthorized
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.kube.portforward.upgrade import NotForwarded, PortForwardNotYet, SpdyUpgrade, Upgrade
from ktpy.kube.portforward.websocket import accept_key

ENDPOINT = ApiEndpoint("127.0.0.1", 6443, path_prefix="/k8s", headers=[("Authorization", "Bearer t")], user="al")


@pytest.fixture
def upgrade() -> Upgrade:
    return Upgrade(ENDPOINT, "shop", "web-0", 2222, ("SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"))


def head(upgrade: Upgrade) -> dict[str, str]:
    lines = upgrade.request().decode().rstrip().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def switching(key: str, subprotocol: str = "v4.channel.k8s.io") -> bytes:
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ).encode()


def test_the_request(upgrade: Upgrade) -> None:
    assert upgrade.request().startswith(
        b"GET /k8s/api/v1/namespaces/shop/pods/web-0/portforward?ports=2222 HTTP/1.1\r\nHost: 127.0.0.1:6443\r\n"
    )
    assert head(upgrade)["Authorization"] == "Bearer t"
    assert head(upgrade)["Sec-WebSocket-Protocol"] == "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io"


@pytest.mark.parametrize(
    ("host", "port", "is_tls", "wanted"),
    [
        ("api.example", 443, True, "api.example"),
        ("api.example", 80, True, "api.example:80"),
        ("api.example", 80, False, "api.example"),
        ("fd00::1", 443, True, "[fd00::1]"),
        ("api.example", 8443, True, "api.example:8443"),
    ],
)
def test_host_is_the_authority_without_a_default_port(host: str, port: int, is_tls: bool, wanted: str) -> None:
    endpoint = ApiEndpoint(host, port, ssl.create_default_context() if is_tls else None, path_prefix="/k8s/c1")
    assert head(Upgrade(endpoint, "shop", "web-0", 2222, ("v4.channel.k8s.io",)))["Host"] == wanted


@pytest.mark.parametrize("answer", [b"", b"Upgrade: websocket\r\n", b"Upgrade: SPDY/3.1\r\n"])
def test_an_upgrade_to_something_else_than_spdy_is_refused(answer: bytes) -> None:
    asked = SpdyUpgrade(ENDPOINT, "shop", "web-0", 2222, ())
    assert asked.request().startswith(
        b"POST /k8s/api/v1/namespaces/shop/pods/web-0/portforward?ports=2222 HTTP/1.1\r\n"
    )
    with pytest.raises(NotForwarded, match="did not open SPDY"):
        asked.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + answer + b"\r\n")


@pytest.mark.parametrize("status", [400, 403, 404, 426])
def test_an_answer_that_no_api_server_gives_is_an_intermediarys(upgrade: Upgrade, status: int) -> None:
    with pytest.raises(NotForwarded, match=f"before the API server at 127.0.0.1:6443 .* answers {status} by") as raised:
        upgrade.feed(f"HTTP/1.1 {status} No\r\nContent-Length: 13\r\n\r\n<b>no way</b>".encode())
    assert "<b>no way</b>" in (raised.value.hint or "")
    assert not isinstance(raised.value, Forbidden)


def test_a_pod_that_the_kubelet_has_not_heard_of_may_come(upgrade: Upgrade) -> None:
    with pytest.raises(PortForwardNotYet):
        upgrade.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\npod does not exist")


def test_what_comes_behind_the_answer_is_handed_on(upgrade: Upgrade) -> None:
    answer = switching(head(upgrade)["Sec-WebSocket-Key"])
    assert upgrade.feed(answer[:40]) is None
    assert upgrade.feed(answer[40:] + b"data") == ("v4.channel.k8s.io", b"data")
    assert upgrade.status == 101


def test_an_answer_to_another_key_is_refused(upgrade: Upgrade) -> None:
    with pytest.raises(ApiRefused, match="did not open a WebSocket"):
        upgrade.feed(switching("another"))


def test_a_subprotocol_that_nobody_asked_for_is_refused(upgrade: Upgrade) -> None:
    with pytest.raises(ApiRefused, match="did not open a WebSocket"):
        upgrade.feed(switching(head(upgrade)["Sec-WebSocket-Key"], "v5.channel.k8s.io"))


def test_a_refusal_is_raised_once_its_body_is_complete(upgrade: Upgrade) -> None:
    assert upgrade.feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nno") is None
    assert upgrade.status == 401
    with pytest.raises(Unauthorized):
        upgrade.feed(b"!!")


@pytest.mark.parametrize("length", [b"Content-Length: ", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_absurd_length(upgrade: Upgrade, length: bytes) -> None:
    with pytest.raises(ApiUnreachable, match="is no API server"):
        upgrade.feed(b"HTTP/1.1 403 Forbidden\r\n" + length + b"9" * 30 + b"\r\n\r\n")


def test_what_is_no_http(upgrade: Upgrade) -> None:
    with pytest.raises(ApiUnreachable, match="is no API server"):
        upgrade.feed(b"SSH-2.0-OpenSSH\r\n\r\n")
