"""Messages are counted whatever pieces their frames come in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.inspect.messages import MessageCount, grpc_frame, websocket_frame


def counted(stream: bytes, size: int, head: object) -> int:
    count = MessageCount(grpc_frame if head == "grpc" else websocket_frame)
    for at in range(0, len(stream), size):
        count.take(stream[at : at + size])
    return count.count


def websocket(size: int, first: int = 0x82, mask: bytes = b"") -> bytes:
    flag = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 1 << 16:
        head = bytes([first, flag | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8)
    return head + mask + bytes(size)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 300)), st.integers(1, 40))
def test_grpc(sizes: list[int], piece: int) -> None:
    stream = b"".join(b"\x00" + size.to_bytes(4) + bytes(size) for size in sizes)
    assert counted(stream, piece, "grpc") == len(sizes)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 125, 126, 300]), max_size=4), st.integers(1, 40))
def test_websocket(sizes: list[int], piece: int) -> None:
    stream = b"".join(websocket(size, mask=b"1234" if size % 2 else b"") for size in sizes)
    assert counted(stream, piece, "websocket") == len(sizes)


@pytest.mark.parametrize(
    ("frames", "messages"),
    [
        ([websocket(3, 0x01), websocket(3, 0x00), websocket(3, 0x80)], 1),
        ([websocket(3, 0x01), websocket(0, 0x89), websocket(3, 0x80)], 1),
        ([websocket(2, 0x88)], 0),
    ],
)
def test_parts_and_control_frames(frames: list[bytes], messages: int) -> None:
    assert counted(b"".join(frames), 5, "websocket") == messages


def test_a_long_frame_of_websocket() -> None:
    assert counted(websocket(66_000) * 2 + websocket(1), 1000, "websocket") == 3
