"""The short way of SSH packets against asyncssh's general one: same packets in, same deliveries and packets out."""

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest
from asyncssh.channel import SSHTCPChannel
from asyncssh.connection import SSHClientConnection
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_IGNORE,
)
from asyncssh.encryption import get_encryption
from asyncssh.logging import logger
from asyncssh.packet import Boolean, Byte, String, UInt32

from ktpy.link.ssh_library import asyncssh
from ktpy.link.ssh_packets import ShortWay, write_data

CIPHER, KEY, IV = b"aes128-gcm@openssh.com", bytes(range(16)), b"fix!" + b"\xff" * 7 + b"\xfd"  # the counter wraps soon
WINDOW_BYTES = 100_000
SEEDS = range(60)


class Outgoing:
    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.sent += b"".join(parts)

    def abort(self) -> None:
        pass


class Connection(SSHClientConnection):
    """A connection after its login, on which nothing but packets happens."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._logger = logger
        self.out = Outgoing()
        self._transport = cast(asyncio.Transport, self.out)
        self._inpbuf = self._packet = b""
        self._recv_handler = self._recv_pkthdr
        self._recv_encryption = get_encryption(CIPHER, KEY, IV)
        self._send_encryption = get_encryption(CIPHER, KEY, IV)
        self._recv_blocksize = self._recv_macsize = self._send_blocksize = 16
        self._send_enchdrlen = 1
        self._recv_seq = self._send_seq = 7
        self._max_recv_pktlen = 40_000
        self._compressor = self._decompressor = self._kex = self._auth = None
        self._kex_complete = self._auth_complete = self._auth_final = True
        self._strict_kex = False
        self._rekey_bytes, self._rekey_bytes_sent, self._rekey_seconds = 1 << 30, 0, 0
        self._channels: dict[int, Any] = {}
        self._next_recv_chan = 0
        self._keepalive_interval, self._keepalive_timer = 0, None
        self.ended: Exception | None = None

    def _cleanup(self, exc: Exception | None) -> None:
        self.ended = exc


class Session:
    """It takes what comes, and stops reading now and then."""

    def __init__(self, channel: Any, chance: "random.Random") -> None:
        self.received = b""
        self.ends: list[str] = []
        self._channel, self._chance, self.pauses = channel, chance, True

    def data_received(self, data: bytes, datatype: None) -> None:
        self.received += data
        if self.pauses and self._chance.random() < 0.1:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        self.ends.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append("lost")

    def pause_writing(self) -> None:
        pass

    resume_writing = pause_writing


class Side:
    """A connection with two open channels, of the general way or the short one."""

    def __init__(self, seed: int, *, is_short: bool) -> None:
        self.connection = Connection()
        if is_short:
            ShortWay.install(self.connection)
        self.channels = [self._channel(random.Random(seed)) for _ in range(2)]
        self.sessions = [channel._session for channel in self.channels]

    def _channel(self, pauses: random.Random) -> Any:
        channel: Any = SSHTCPChannel(self.connection, asyncio.get_running_loop(), None, "strict", WINDOW_BYTES, 32768)
        channel._session = Session(channel, pauses)
        channel._send_chan, channel._send_window, channel._send_pktsize = channel._recv_chan + 10, 50_000, 3000
        channel._send_state = channel._recv_state = "open"
        channel._recv_paused = False
        return channel

    def outcome(self) -> dict[str, Any]:
        """What both ways have in common: they may divide data otherwise, and renew windows at other moments."""
        adjusted, sent = [0, 0], []
        for payload in payloads(self.connection.out.sent):
            if payload[0] == MSG_CHANNEL_WINDOW_ADJUST:
                number, byte_count = struct.unpack(">xII", payload)
                adjusted[number - 10] += byte_count
            elif payload[0] != MSG_IGNORE:
                sent.append(payload)
        held = [b"".join(data for data, _ in channel._recv_buf) for channel in self.channels]
        arrived = [session.received + rest for session, rest in zip(self.sessions, held, strict=True)]
        return {
            "arrived": arrived,
            "granted": [
                channel._recv_window + len(data) - more
                for channel, data, more in zip(self.channels, arrived, adjusted, strict=True)
                if channel._send_state == "open" and not self.connection.ended
            ],
            "ends": [session.ends for session in self.sessions if not self.connection.ended],  # else some wait
            "windows": [channel._send_window for channel in self.channels],
            "states": [
                (channel._recv_state.replace("_pending", "").replace("closed", "close"), channel._send_state)
                for channel in self.channels
            ],
            "sequence": self.connection._recv_seq,
            "sent": sent,
            "ended": type(self.connection.ended),
        }


def payloads(sent: bytes) -> list[bytes]:
    """What the packets that were sent hold."""
    decryption, found = get_encryption(CIPHER, KEY, IV), []
    while sent:
        (length,) = struct.unpack_from(">I", sent)
        body, tag, rest = sent[4 : 4 + length], sent[4 + length : 20 + length], sent[20 + length :]
        packet = decryption.decrypt_packet(0, sent[:4], body, 4, tag)
        assert packet is not None
        assert length % 16 == 0
        assert packet[0] >= 4
        found.append(packet[1 : -packet[0]])
        sent = rest
    return found


def sealed(payload_list: list[bytes]) -> bytes:
    """Packets from the server."""
    encryption, stream = get_encryption(CIPHER, KEY, IV), b""
    for payload in payload_list:
        padding = 4 + -(5 + len(payload)) % 16
        packet, tag = encryption.encrypt_packet(
            0, UInt32(1 + len(payload) + padding), Byte(padding) + payload + bytes(padding)
        )
        stream += packet + tag
    return stream


def data(number: int, content: bytes) -> bytes:
    return Byte(MSG_CHANNEL_DATA) + UInt32(number) + String(content)


def random_payloads(chance: random.Random) -> list[bytes]:
    """Packets of a server's, most of them in order, with an end or a fault among the last."""
    others: list[Callable[[int], bytes]] = [
        lambda number: Byte(MSG_CHANNEL_WINDOW_ADJUST) + UInt32(number) + UInt32(chance.randrange(10_000)),
        lambda _: Byte(MSG_DEBUG) + Boolean(False) + String(b"hello") + String(b""),
        lambda number: data(number, b""),
    ]
    last: list[Callable[[int], bytes]] = [
        lambda number: Byte(MSG_CHANNEL_EOF) + UInt32(number),
        lambda number: Byte(MSG_CHANNEL_CLOSE) + UInt32(number),
        lambda number: data(number, bytes(WINDOW_BYTES + 1)),  # more than the packet may hold
        lambda number: data(number, b"x") + b"more",
        lambda number: Byte(MSG_CHANNEL_DATA) + UInt32(number) + UInt32(99) + b"too short",
        lambda _: data(5, b"of no channel"),
        lambda _: Byte(MSG_CHANNEL_DATA),
        lambda _: Byte(199) + b"unknown",
    ]
    made = []
    for _ in range(chance.randrange(40)):
        number = chance.randrange(2)
        is_data = chance.random() < 0.8
        made.append(
            data(number, chance.randbytes(chance.randrange(1, 9000))) if is_data else chance.choice(others)(number)
        )
    made.insert(max(0, len(made) - chance.randrange(4)), chance.choice(last)(chance.randrange(2)))
    return made


def feed(side: Side, stream: bytes, chance: random.Random) -> None:
    """In pieces as they come, at times several at once in a buffer that is written over."""
    receive_views = getattr(side.connection, "views_received", None)
    position = 0
    while position < len(stream) and side.connection._transport is not None:
        pieces = [stream[position : position + chance.choice((1, 3, 20, 4000, 30_000))]]
        position += len(pieces[0])
        if receive_views and chance.random() < 0.5:
            pieces.append(stream[position : position + chance.randrange(9000)])
            position += len(pieces[1])
            buffers = [bytearray(piece) for piece in pieces]
            receive_views([memoryview(buffer) for buffer in buffers])
            for buffer in buffers:
                buffer[:] = bytes(len(buffer))
        else:
            side.connection.data_received(pieces[0])


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_short_way_does_as_the_general_one(seed: int) -> None:
    chance = random.Random(seed)
    stream = sealed(random_payloads(chance))
    if chance.random() < 0.2:  # a byte that was tampered with, in a length, a packet or a tag
        position = chance.randrange(len(stream))
        stream = stream[:position] + bytes((stream[position] ^ 1 << chance.randrange(8),)) + stream[position + 1 :]
    outcomes = []
    for is_short in (False, True):
        side = Side(seed, is_short=is_short)
        feed(side, stream, random.Random(seed))
        await asyncio.sleep(0)
        for channel, session in zip(side.channels, side.sessions, strict=True):
            if side.connection._transport is not None and channel._conn is not None:
                session.pauses = False
                channel.resume_reading()
                if channel._send_state == "open":
                    (write_data if is_short else type(channel).write)(channel, bytes(range(250)) * 400)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outcomes.append(side.outcome())
    assert outcomes[1] == outcomes[0]


async def test_data_that_comes_together_is_delivered_together_and_before_what_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side = Side(0, is_short=True)
    told: list[bytes | str] = []
    for session in side.sessions:
        monkeypatch.setattr(session, "data_received", lambda data, _: told.append(data))
        monkeypatch.setattr(session, "eof_received", lambda: told.append("eof"))
    end = Byte(MSG_CHANNEL_EOF) + UInt32(1)
    side.connection.data_received(
        sealed([data(1, b"a"), data(0, b"b"), data(1, b"c"), end, data(0, b"d"), data(0, b"e")])
    )
    assert told == [b"ac", b"b", "eof", b"de"]


async def test_data_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSHClientConnection, "_recv_data", None)
    side = Side(0, is_short=True)
    side.connection.data_received(sealed([data(1, b"hello")]))
    assert side.sessions[1].received == b"hello"
    write_data(side.channels[1], b"hi")
    assert payloads(side.connection.out.sent) == [data(11, b"hi")]  # without SSH_MSG_IGNORE


@pytest.mark.parametrize("is_known", [False, True])
async def test_an_asyncssh_of_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    monkeypatch.setattr(asyncssh, "__version__", "2.24.9" if is_known else "2.25.0")
    side = Side(0, is_short=True)
    assert ("send_packet" in vars(side.connection)) is is_known
    side.connection.data_received(sealed([data(1, b"hello")]))
    assert side.sessions[1].received == b"hello"
    write_data(side.channels[1], b"hi")
    assert payloads(side.connection.out.sent)[-1] == data(11, b"hi")


async def test_another_cipher_takes_the_general_way() -> None:
    side = Side(0, is_short=True)
    cipher, key = b"chacha20-poly1305@openssh.com", bytes(64)
    encryption = get_encryption(cipher, key, b"")
    side.connection._recv_encryption = get_encryption(cipher, key, b"")
    side.connection._recv_blocksize = 8
    payload = data(0, b"hello!!")
    padding = 8 + -(1 + len(payload)) % 8
    packet, tag = encryption.encrypt_packet(
        7, UInt32(1 + len(payload) + padding), Byte(padding) + payload + bytes(padding)
    )
    side.connection.data_received(packet + tag)
    assert side.sessions[0].received == b"hello!!"


async def test_a_connection_that_has_ended_is_left_as_it_was() -> None:
    connection = Connection()
    before = dict(vars(connection))
    ShortWay.install(connection)
    ShortWay.remove(connection)
    assert vars(connection) == before
