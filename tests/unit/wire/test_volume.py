from typing import Any

import pytest

from ktpy.wire.volume import MessageParser, Status, packed

MESSAGES: list[tuple[list[Any], bytes]] = [
    ([0, 0, 1], b""),
    ([7, "write", 3, 0], b"x\ny"),
    ([8, "stat", "a\udcff/b"], b""),
]


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_messages_come_as_they_were_sent_in_whatever_parts(step: int) -> None:
    stream = b"".join(packed(head, data) for head, data in MESSAGES)
    parser = MessageParser()
    parts = [stream[place : place + step] for place in range(0, len(stream), step)]
    assert [message for part in parts for message in parser.feed(part)] == MESSAGES


def test_a_status_travels_as_a_list() -> None:
    status = Status(1, 2, 3, 4, 5, 6, 7, 8)
    [([_, _, told], _)] = MessageParser().feed(packed([1, 0, status]))
    assert Status(*told) == status


@pytest.mark.parametrize("text", [b'{"version": 1}\n', b"\xff" * 8, b"\0\0\0\4\0\0\0\0 {} ", b"\0\0\0\3\0\0\0\0[1]"])
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(MessageParser().feed(text))
