"""Where a client wants to go, and the sentence it gets where it does not get there."""

import errno
from ipaddress import ip_address

import pytest

from ktpy.capture.proxy.destination import Destination, Kind, failure_of


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("web:80", "web", 80),
        ("web.shop", "web.shop", 8080),
        ("web:", "web", 8080),
        ("10.96.0.7:1", "10.96.0.7", 1),
        ("[fd96::7]:65535", "fd96::7", 65535),
        ("[FD96::7]", "fd96::7", 8080),
    ],
)
def test_authorities(authority: str, host: str, port: int) -> None:
    assert Destination.parse(authority, 8080) == (host, port)


@pytest.mark.parametrize(
    "authority",
    [
        *("", ":80", "web:0", "web:65536", "web:-1", "web:8 0", "web:²", "a b:1", "fd96::7:80", "[fd96:80", "[web]:80"),
        *("me@web:80", "we\nb:80", "x" * 256 + ":80"),
    ],
)
def test_what_is_no_authority(authority: str) -> None:
    with pytest.raises(ValueError):
        Destination.parse(authority, 80)


def test_a_port_is_needed_where_there_is_no_default() -> None:
    with pytest.raises(ValueError, match="'' is no port"):
        Destination.parse("web")


@pytest.mark.parametrize(
    ("host", "address"),
    [("web", None), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("::ffff:10.96.0.7", "10.96.0.7")],
)
def test_the_address_that_a_host_is(host: str, address: str | None) -> None:
    assert Destination(host, 1).address == (address and ip_address(address))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), Kind.REFUSED, "refused the connection: nothing listens"),
        (OSError(errno.ENETUNREACH, "x"), Kind.NO_ROUTE, "there is no route to its network"),
        (OSError(errno.EHOSTUNREACH, "x"), Kind.UNREACHABLE, "nobody has that address"),
        (TimeoutError(), Kind.SILENT, "does not answer"),
        (TimeoutError(errno.ETIMEDOUT, "x"), Kind.SILENT, "does not answer"),
        (ConnectionAbortedError("the tunnel is gone"), Kind.NO_ANSWER, "(the tunnel is gone)"),
    ],
)
def test_failures(error: OSError, kind: Kind, words: str) -> None:
    failure = failure_of(error, Destination("fd96::7", 80), "from the cluster")
    assert failure.kind is kind
    assert failure.sentence.startswith("[fd96::7]:80 ")
    assert words in failure.sentence
    assert failure.sentence.endswith(", from the cluster.")
