"""Which of the kernel's messages about routes count. That they come is in tests/net."""

import struct

import pytest

from ktpy.capture.tun.route_changes import is_by_others

OWN = 7
NEW, DELETED = 24, 25


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    """One netlink message about a route (rtnetlink(7)); attributes are padded to four bytes."""
    body = bytes(12)
    for number, value in attributes:
        body += struct.pack("=HH", len(value) + 4, number) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def into(link: int) -> tuple[tuple[int, bytes], ...]:
    return (1, bytes([10, 96, 5, 0])), (99, b"odd"), (4, struct.pack("=I", link))


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (message(NEW, *into(2)), True),
        (message(NEW, *into(OWN)), False),
        (message(DELETED, *into(OWN)), True),
        (message(DELETED, *into(2)), True),
        (message(NEW), True),  # over several links
        (message(NEW, *into(OWN)) + message(NEW, *into(2)), True),
        (b"", False),
    ],
)
def test_what_others_do(datagram: bytes, expected: bool) -> None:
    assert is_by_others(datagram, OWN) is expected


@pytest.mark.parametrize("size", range(40))
def test_a_message_that_is_cut_short_or_has_a_wrong_length_ends_the_reading(size: int) -> None:
    is_by_others(message(NEW, *into(OWN))[:size], OWN)
    is_by_others(bytes(size), OWN)
    is_by_others(message(DELETED, (0, b""))[:28] + bytes(size), OWN)
