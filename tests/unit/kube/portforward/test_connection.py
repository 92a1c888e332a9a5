"""One connection of a port-forward, on transports that keep what it does with them."""

import asyncio
import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ktpy.errors import Forbidden
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.kube.portforward.connection import BATCH_BYTES, FRAME_BYTES, PortForwardConnection
from ktpy.kube.portforward.framing import ChannelFraming
from ktpy.kube.portforward.port_forward import SUBPROTOCOLS
from ktpy.kube.portforward.spdy import SpdyFraming
from ktpy.kube.portforward.turns import LONG_BYTES, SHORT_BYTES, SHORT_REST_S, Turns
from ktpy.kube.portforward.upgrade import Upgrade
from tests.unit.kube.portforward.test_port_forward import DATA, PORT, SUBPROTOCOL, ApiServer, Inner


class Outgoing(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False
        self.waiting_bytes = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


def arrive(connection: PortForwardConnection, data: bytes) -> None:
    """As a transport has it."""
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def opened(subprotocol: str, batch_bytes: int = BATCH_BYTES) -> tuple[PortForwardConnection, Outgoing]:
    """A connection on which data may be sent, and what it writes to."""
    endpoint = ApiEndpoint("api.test", 443)
    upgrade = Upgrade(endpoint, "shop", "shadow-1", PORT, SUBPROTOCOLS)
    out = Outgoing()
    connection = PortForwardConnection(out, endpoint, upgrade, PORT, Turns(), batch_bytes)
    api = ApiServer(cast(asyncio.StreamReader, None), cast(asyncio.StreamWriter, None))
    api.head = out.written[0].decode()
    arrive(connection, api.switching(subprotocol=subprotocol))
    connection.begin(Inner())
    out.written.clear()
    return connection, out


async def test_what_is_read_is_told_to_who_gathers() -> None:
    class Gathering:
        def __init__(self) -> None:
            self.told: list[object] = []

        def came(self, count: int) -> None:
            self.told.append(count)

        def end(self) -> None:
            self.told.append("end")

    gathering = Gathering()
    upgrade = Upgrade(ApiEndpoint("api.test", 443), "shop", "shadow-1", PORT, SUBPROTOCOLS)
    connection = PortForwardConnection(
        Outgoing(), ApiEndpoint("api.test", 443), upgrade, PORT, Turns(), gathering=cast(Any, gathering)
    )
    arrive(connection, b"HTTP")
    connection.connection_lost(None)
    assert gathering.told == [4, "end"]


@pytest.mark.parametrize(
    ("subprotocol", "header"),
    [
        (ChannelFraming.subprotocol, b"\x82\x87\x00\x00\x00\x00" + DATA),
        (SpdyFraming.subprotocol, b"\x82\x8e\x00\x00\x00\x00" + struct.pack(">II", 3, 6)),
    ],
)
async def test_writes_of_one_turn_are_one_frame(subprotocol: str, header: bytes) -> None:
    connection, out = opened(subprotocol)
    connection.write(b"ab")
    connection.write(bytearray(b"cd"))
    connection.writelines([b"e", memoryview(b"f")])
    assert out.written == []
    await asyncio.sleep(0)
    assert out.written == [header + b"abcdef"]


async def test_where_there_are_no_batches_a_write_goes_out_at_once() -> None:
    connection, out = opened(SUBPROTOCOL, batch_bytes=0)
    for written in (1, 2):
        connection.writelines([b"head", b"body"])
        assert len(out.written) == written
    await asyncio.sleep(0)
    assert len(out.written) == 2


async def test_a_batch_is_cut_into_frames_where_the_line_does_not_keep_up() -> None:
    connection, out = opened(SUBPROTOCOL)
    out.waiting_bytes = 1
    for _ in range(3):
        connection.write(bytes(FRAME_BYTES // 2))
    await asyncio.sleep(0)
    (written,) = out.written
    assert written == (
        struct.pack(">BBQI", 0x82, 0xFF, FRAME_BYTES + 1, 0)
        + DATA
        + bytes(FRAME_BYTES)
        + struct.pack(">BBHI", 0x82, 0xFE, FRAME_BYTES // 2 + 1, 0)
        + DATA
        + bytes(FRAME_BYTES // 2)
    )


async def test_a_batch_is_one_frame_where_the_line_keeps_up() -> None:
    connection, out = opened(SUBPROTOCOL)
    for _ in range(3):
        connection.write(bytes(FRAME_BYTES))
    await asyncio.sleep(0)
    assert out.written == [struct.pack(">BBQI", 0x82, 0xFF, 3 * FRAME_BYTES + 1, 0) + DATA + bytes(3 * FRAME_BYTES)]


async def test_a_burst_does_not_pile_up() -> None:
    connection, out = opened(SUBPROTOCOL)
    for _ in range(4):
        connection.write(bytes(BATCH_BYTES // 2))
    assert len(out.written) == 2
    await asyncio.sleep(0)
    assert len(out.written) == 2


async def test_what_is_written_is_taken_at_once() -> None:
    """As asyncio's transports promise: the caller may reuse its buffer."""
    connection, out = opened(SUBPROTOCOL)
    buffer = bytearray(b"before")
    connection.write(buffer)
    buffer[:] = b"after!"
    await asyncio.sleep(0)
    assert out.written[-1].endswith(b"before")


# --- its share of a turn of the event loop


class Outside:
    """A transport that remembers whether it is read. It never tells that it has ended."""

    def __init__(self) -> None:
        self.is_read = True
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, _: int) -> None: ...

    def write(self, _: bytes) -> None: ...


def taking(turns: Turns | None = None) -> tuple[PortForwardConnection, Outside]:
    """A connection whose upgrade is never complete, so that it takes whatever comes."""
    outside: Any = Outside()
    upgrade: Any = SimpleNamespace(request=lambda: b"", feed=lambda _: None)
    endpoint: Any = None
    return PortForwardConnection(outside, endpoint, upgrade, 2222, turns or Turns()), outside


async def test_a_refusal_counts_before_the_connection_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, outside = taking()

    def refuse(_: bytes) -> None:
        raise Forbidden("no")

    monkeypatch.setattr(connection._upgrade, "feed", refuse)
    arrive(connection, b"HTTP")
    with pytest.raises(Forbidden):
        await connection.ready
    assert outside.is_aborted


async def test_a_download_rests_until_others_have_had_their_turn() -> None:
    connection, outside = taking()
    arrive(connection, bytes(LONG_BYTES - 1))
    assert outside.is_read
    arrive(connection, b"x")
    assert not outside.is_read
    await asyncio.sleep(0)
    assert outside.is_read


async def test_while_turns_are_short_it_takes_less_in_each_and_rests_after_it() -> None:
    turns = Turns()
    connection, outside = taking(turns)
    arrive(connection, bytes(SHORT_BYTES))
    assert outside.is_read
    turns.shorten()
    assert len(connection.get_buffer(-1)) == LONG_BYTES  # the turn has begun
    await asyncio.sleep(0)
    assert len(connection.get_buffer(-1)) == SHORT_BYTES
    arrive(connection, bytes(SHORT_BYTES))
    assert not outside.is_read
    await asyncio.sleep(0)
    assert not outside.is_read
    await asyncio.sleep(1.5 * SHORT_REST_S)
    assert outside.is_read


async def test_what_comes_in_many_turns_never_rests() -> None:
    connection, outside = taking()
    for _ in range(5):
        arrive(connection, bytes(LONG_BYTES // 2))
        await asyncio.sleep(0)
        assert outside.is_read


async def test_a_rest_does_not_undo_a_pause_of_the_inside() -> None:
    connection, outside = taking()
    arrive(connection, bytes(LONG_BYTES))
    connection.pause_reading()
    await asyncio.sleep(0)
    assert not outside.is_read
    connection.resume_reading()
    assert outside.is_read
    arrive(connection, bytes(LONG_BYTES))
    connection.pause_reading()
    connection.resume_reading()
    assert not outside.is_read
