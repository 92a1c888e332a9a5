import pytest

from ktpy.wire.sync import frames
from ktpy.wire.sync.entries import FILE, FOLDER, Entry
from ktpy.wire.sync.frames import FrameParser, Request, Result

ENTRY = Entry(FILE, 0o600, 3, bytes(16))


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_come_whole_however_the_stream_was_cut(size: int) -> None:
    stream = frames.frame(frames.TOLD) + frames.block_head(7, 2, 3) + b"abc" + frames.said(frames.HELLO, version=1)
    parser = FrameParser()
    found = [one for at in range(0, len(stream), size) for one in parser.feed(stream[at : at + size])]
    assert [kind for kind, _ in found] == [frames.TOLD, frames.BLOCK, frames.HELLO]
    number, index, data = frames.block_of(found[1][1])
    assert (number, index, bytes(data)) == (7, 2, b"abc")
    assert frames.heard(found[2][1]) == {"version": 1}


def test_a_frame_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(FrameParser().feed(b"\xff\xff\xff\xff\1"))


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, b"a", None, ENTRY, b"abc"),
        Request(2, b"d/a", ENTRY),
        Request(3, b"d", Entry(FOLDER), None),
    ],
)
def test_a_request_travels(request_: Request) -> None:
    [(kind, payload)] = FrameParser().feed(request_.frame(frames.PUT))
    assert (kind, Request.parse(payload)) == (frames.PUT, request_)


def test_a_result_travels() -> None:
    result = Result(9, frames.FAILED, ENTRY, b"28")
    [(_, payload)] = FrameParser().feed(result.frame())
    assert Result.parse(payload) == result


@pytest.mark.parametrize("payload", [b"", b"\0\0", b"\0\0\0\1\0"])
def test_what_is_cut_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        Request.parse(payload)


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError):
        frames.heard(b"[]")
