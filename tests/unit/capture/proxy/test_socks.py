"""SOCKS as playbooks: what the client sends, what it is answered, and where it wants to go."""

import pytest

from ktpy.capture.proxy.destination import Kind
from ktpy.capture.proxy.socks import SocksError, SocksHandshake

GREETING = b"\x05\x01\x00"
LOGIN = ("ktpy", "secret")
BY_NAME = b"\x05\x01\x00\x03\x03web\x00\x50"
BY_IPV4 = b"\x05\x01\x00\x01\x0a\x60\x00\x07\x00\x50"
BY_IPV6 = b"\x05\x01\x00\x04\xfd\x96" + bytes(13) + b"\x07\x00\x50"
REFUSED_COMMAND, REFUSED_KIND = b"\x05\x07\x00\x01" + bytes(6), b"\x05\x08\x00\x01" + bytes(6)
FAILED = b"\x05\x01\x00\x01" + bytes(6)


def socks5(login: tuple[str, str] | None = None) -> SocksHandshake:
    return SocksHandshake(5, login)


def socks4(login: tuple[str, str] | None = None) -> SocksHandshake:
    return SocksHandshake(4, login)


def refusal(handshake: SocksHandshake, data: bytes) -> bytes:
    with pytest.raises(SocksError) as refused:
        handshake.receive(data)
    assert handshake.destination is None
    assert str(refused.value).endswith(".")
    return refused.value.reply


@pytest.mark.parametrize(
    ("request_", "destination"),
    [(BY_NAME, ("web", 80)), (BY_IPV4, ("10.96.0.7", 80)), (BY_IPV6, ("fd96::7", 80))],
)
def test_socks5(request_: bytes, destination: tuple[str, int]) -> None:
    handshake = socks5()
    assert handshake.receive(GREETING) == b"\x05\x00"
    assert handshake.destination is None
    assert handshake.receive(request_ + b"GET /") == b""
    assert handshake.destination == destination
    assert handshake.rest == b"GET /"
    assert handshake.granted() == b"\x05\x00\x00\x01" + bytes(6)


@pytest.mark.parametrize("login", [None, LOGIN])
def test_it_may_come_byte_by_byte(login: tuple[str, str] | None) -> None:
    handshake = socks5(login)
    said = b"\x05\x02\x00\x02" + (b"\x01\x04ktpy\x06secret" if login else b"") + BY_NAME
    replies = b"".join(handshake.receive(said[place : place + 1]) for place in range(len(said)))
    assert replies == (b"\x05\x02\x01\x00" if login else b"\x05\x00")
    assert handshake.destination == ("web", 80)


def test_it_may_come_at_once() -> None:
    handshake = socks5()
    assert handshake.receive(GREETING + BY_NAME + b"rest") == b"\x05\x00"
    assert (handshake.destination, handshake.rest) == (("web", 80), b"rest")


@pytest.mark.parametrize("methods", [b"\x00", b"\x01\x02", b"\x02\x01\x02"])
def test_a_client_without_the_method_that_is_needed(methods: bytes) -> None:
    assert refusal(socks5(), b"\x05" + methods) == b"\x05\xff"


def test_a_login_that_is_not_offered() -> None:
    assert refusal(socks5(LOGIN), GREETING) == b"\x05\xff"


@pytest.mark.parametrize("said", [b"\x01\x04ktpy\x05wrong", b"\x01\x00\x00", b"\x02\x04ktpy\x06secret"])
def test_a_wrong_login(said: bytes) -> None:
    assert refusal(socks5(LOGIN), b"\x05\x01\x02" + said) == b"\x05\x02\x01\x01"


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\x05\x02\x00\x01" + bytes(6), REFUSED_COMMAND),
        (b"\x05\x03\x00\x01" + bytes(6), REFUSED_COMMAND),
        (b"\x05\x09\x00\x01" + bytes(6), REFUSED_COMMAND),
        (b"\x05\x01\x00\x02" + bytes(6), REFUSED_KIND),
        (b"\x04\x01\x00\x01" + bytes(6), FAILED),
        (b"\x05\x01\x00\x03\x00\x00\x50", FAILED),
        (b"\x05\x01\x00\x03\x03a\nb\x00\x50", FAILED),
        (b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", FAILED),
        (b"\x05\x01\x00\x03\x03web\x00\x00", FAILED),
    ],
)
def test_what_there_is_not(request_: bytes, reply: bytes) -> None:
    handshake = socks5()
    handshake.receive(GREETING)
    assert refusal(handshake, request_) == reply


def test_udp_associate_is_named() -> None:
    handshake = socks5()
    handshake.receive(GREETING)
    with pytest.raises(SocksError, match=r"^There is no UDP ASSOCIATE here\.$"):
        handshake.receive(b"\x05\x03\x00\x01" + bytes(6))


@pytest.mark.parametrize("said", [b"\x05\xff\x00", GREETING + b"\x05\x01\x00\x03\xffweb\x00\x50", b"\x04\x01\x00\x50"])
def test_a_length_that_is_a_lie_waits_for_what_never_comes(said: bytes) -> None:
    handshake = SocksHandshake(said[0], None)
    handshake.receive(said)
    assert handshake.destination is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.REFUSED, 5),
        (Kind.NO_ROUTE, 3),
        (Kind.UNREACHABLE, 4),
        (Kind.SILENT, 4),
        (Kind.UNKNOWN_NAME, 4),
        (Kind.NO_ANSWER, 1),
    ],
)
def test_each_failure_has_its_code(kind: Kind, code: int) -> None:
    assert socks5().refused(kind)[1] == code
    assert socks4().refused(kind) == b"\x00\x5b" + bytes(6)


@pytest.mark.parametrize(
    ("said", "destination"),
    [
        (b"\x04\x01\x00\x50\x0a\x60\x00\x07me\x00", ("10.96.0.7", 80)),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00web.shop\x00", ("web.shop", 80)),
    ],
)
def test_socks4(said: bytes, destination: tuple[str, int]) -> None:
    handshake = socks4()
    replies = b"".join(handshake.receive(said[place : place + 1]) for place in range(len(said)))
    assert (replies, handshake.destination) == (b"", destination)
    assert handshake.granted() == b"\x00\x5a" + bytes(6)


@pytest.mark.parametrize(
    "said",
    [
        b"\x04\x02\x00\x50\x0a\x60\x00\x07\x00",
        b"\x04\x01\x00\x00\x0a\x60\x00\x07\x00",
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00",
        b"\x04\x01\x00\x50\x0a\x60\x00\x07" + b"u" * 256,
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"n" * 256,
    ],
)
def test_what_there_is_not_in_socks4(said: bytes) -> None:
    assert refusal(socks4(), said) == b"\x00\x5b" + bytes(6)


def test_the_user_id_of_socks4_is_the_password() -> None:
    handshake = socks4(LOGIN)
    handshake.receive(b"\x04\x01\x00\x50\x0a\x60\x00\x07secret\x00")
    assert handshake.destination == ("10.96.0.7", 80)
    assert refusal(socks4(LOGIN), b"\x04\x01\x00\x50\x0a\x60\x00\x07ktpy\x00") == b"\x00\x5d" + bytes(6)
