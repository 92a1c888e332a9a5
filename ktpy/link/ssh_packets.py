"""A short way for SSH packets beside asyncssh's general one, which costs ten copies of each byte and much Python.

The short way takes packets of an encryption that it knows (AES-GCM, RFC 5647) once the login is over. It delivers the
data of channels itself and hands every other packet, opened, to the general way, which alone negotiates keys, opens,
closes and ends. Either way may take the next packet: what counts packets, windows and bytes is asyncssh's state.
"""

# ruff: noqa: SLF001 - this module stands in for parts of asyncssh's connection, channel and cipher
import os
import struct
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktpy.link.ssh_library import asyncssh

_TESTED_VERSIONS: Final = ((2, 24), (2, 25))
"""asyncssh from the first on and before the second: its insides are those that this module knows."""
_TAG_BYTES: Final = 16
_BLOCK_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
_LEAST_PADDING_BYTES: Final = 4
_DRAWN_BYTES: Final = 4096
"""Random bytes for padding are drawn together: a system call for each packet is 6 % of an upload's processor time."""
_LAST_OF_LOGIN: Final = 79
"""Message numbers up to this one belong to the transport, key exchange and login (RFC 4250, section 4.1.2)."""
_CHANNEL_DATA: Final = 94
_DATA: Final = struct.Struct(">BBII")
"""padding_length, then of SSH_MSG_CHANNEL_DATA the number, the recipient channel, and the length of the data."""
_CHANNEL_AND_LENGTH: Final = struct.Struct(">II")
_LENGTH: Final = struct.Struct(">I")
_TIMER_SHARE: Final = 0.1
"""A keepalive is put off by what comes in once in this share of its interval: a timer costs more than a packet."""
_COUNTER_MASK: Final = (1 << 64) - 1


class _PacketCipher:
    """A _PacketCipher takes the place of asyncssh's GCMCipher, which sets up the key anew for each packet."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESGCM(key)
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:], "big")
        self.opened: bytes | None = None
        """The packet that `verify_and_decrypt` will be asked for is opened already."""

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = self._counter + 1 & _COUNTER_MASK
        return nonce

    def seal(self, length: bytes, packet: bytes) -> bytes:
        """Return the packet encrypted, with its tag."""
        return self._aead.encrypt(self._nonce(), packet, length)

    def open(self, length: memoryview, sealed: memoryview, packet: memoryview) -> bool:
        """Write the packet from its padding length on into `packet`; return False when it is not authentic."""
        try:
            self._aead.decrypt_into(self._nonce(), sealed, length, packet)
        except InvalidTag:
            return False
        return True

    def encrypt_and_sign(self, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        sealed = self.seal(header, data)
        return header + sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]

    def verify_and_decrypt(self, header: bytes, data: bytes, mac: bytes) -> bytes | None:
        if self.opened is not None:
            opened, self.opened = self.opened, None
            return opened or None
        try:
            return self._aead.decrypt(self._nonce(), data + mac, header)
        except InvalidTag:
            return None


class ShortWay:
    """A ShortWay sits in the place of the methods by which a connection takes bytes and sends packets."""

    def __init__(self, ssh: Any) -> None:
        self._ssh = ssh
        self._receive_generally, self._send_generally = ssh.data_received, ssh.send_packet
        self._buffer = bytearray()
        self._held_bytes = 0
        """The buffer begins with so much of a packet whose rest has not come; asyncssh holds nothing then."""
        self._opened = memoryview(bytearray())
        """The packets of the buffer, each where it stands there."""
        self._arrived: dict[Any, list[memoryview]] = {}
        """Data in `_opened` that its channel has not got yet."""
        self._reset_at_s = 0.0
        """Until then what comes in does not put the keepalive off again."""
        self._opening: tuple[Any, _PacketCipher | None] = None, None
        self._sealing: tuple[Any, _PacketCipher | None] = None, None
        """asyncssh's encryption and what was put into it: it has another one after each key exchange."""
        self._random = BytesIO()

    @classmethod
    def install(cls, ssh: Any) -> None:
        """Have the connection use the short way, if its asyncssh is of a version that this module knows."""
        version = tuple(map(int, asyncssh.__version__.split(".")[:2]))
        if _TESTED_VERSIONS[0] <= version < _TESTED_VERSIONS[1] and hasattr(AESGCM, "decrypt_into"):
            way = cls(ssh)
            ssh.data_received, ssh.views_received, ssh.send_packet = way.receive, way.receive_views, way.send

    @staticmethod
    def remove(ssh: Any) -> None:
        """Let go of the connection, which has ended: otherwise the two keep each other, and the buffers, in memory."""
        for name in ("data_received", "views_received", "send_packet"):
            vars(ssh).pop(name, None)

    # --- what comes in

    def receive(self, data: bytes) -> None:
        """Take bytes from the transport, as the connection's `data_received`."""
        self.receive_views((data,))

    def receive_views(self, views: Sequence[bytes | memoryview]) -> None:
        """Take bytes from a transport that may write over them afterwards."""
        cipher = self._take_over()
        if cipher is None:
            self._receive_generally(b"".join(views))
            return
        for view in views:
            self._gather(view)
        ssh = self._ssh
        if (now_s := ssh._loop.time()) >= self._reset_at_s:
            self._reset_at_s = now_s + _TIMER_SHARE * (ssh._keepalive_interval or 0)
            ssh._reset_keepalive_timer()
        try:
            rest = self._open_packets(cipher)
        except asyncssh.DisconnectError as exc:
            ssh._send_disconnect(exc.code, exc.reason, exc.lang)
            ssh._force_close(exc)
        except Exception:
            ssh.internal_error()
        else:
            self._pass_on(rest)

    def _take_over(self) -> _PacketCipher | None:
        """Return the cipher if the short way may go on. What asyncssh holds of the next packet is held here then."""
        ssh = self._ssh
        encryption, cipher = self._opening
        if encryption is not ssh._recv_encryption:
            cipher = _adopt(ssh._recv_encryption)
            self._opening = ssh._recv_encryption, cipher
        if cipher is None or not ssh._auth_final or ssh._decompressor or ssh._transport is None:
            return None
        if ssh._recv_handler == ssh._recv_packet:
            ssh._recv_handler = ssh._recv_pkthdr
        elif ssh._recv_handler != ssh._recv_pkthdr:
            return None  # a packet is being worked on, and others wait
        if ssh._packet or ssh._inpbuf:
            self._gather(ssh._packet + ssh._inpbuf)
            ssh._packet = ssh._inpbuf = b""
        return cipher

    def _gather(self, view: bytes | memoryview) -> None:
        end = self._held_bytes + len(view)
        if end > len(self._buffer):
            self._buffer += bytes(end - len(self._buffer))
        self._buffer[self._held_bytes : end] = view
        self._held_bytes = end

    def _open_packets(self, cipher: _PacketCipher) -> bytes:
        """Work on the packets in the buffer; return those after one after which asyncssh or another key goes on."""
        ssh, position, end = self._ssh, 0, self._held_bytes
        self._held_bytes = 0
        if end > len(self._opened):
            self._opened = memoryview(bytearray(len(self._buffer)))
        with memoryview(self._buffer) as view:
            while (body := position + _LENGTH_BYTES) <= end:
                (length,) = _LENGTH.unpack_from(view, position)
                after = body + length + _TAG_BYTES
                is_possible = _BLOCK_BYTES <= length <= ssh._max_recv_pktlen
                if is_possible and after > end:
                    break
                packet = self._opened[body : body + length] if is_possible else None
                if packet is None or not cipher.open(view[position:body], view[body:after], packet):
                    self._hand_out()
                    cipher.opened, ssh._inpbuf = b"", bytes(view[position:end])
                    ssh._recv_data()  # finds the fault too, and ends the connection
                    return b""
                if not self._take(packet):
                    self._hand_out()
                    if ssh._transport is None:
                        return b""
                    cipher.opened, ssh._inpbuf = bytes(packet), bytes(view[position:after])
                    ssh._recv_data()
                    if self._take_over() is not cipher:
                        return bytes(view[after:end])
                position = after
            rest = bytes(view[position:end])
        self._gather(rest)
        self._hand_out()
        return b""

    def _pass_on(self, rest: bytes) -> None:
        """Let asyncssh have the rest, which waits there until a packet is worked on, or comes back with another key."""
        if rest and self._ssh._transport is not None:
            if self._take_over() is None:
                self._ssh._inpbuf += rest
            else:
                self.receive(rest)

    def _take(self, packet: memoryview) -> bool:
        """Take the data in the packet; return False, having done nothing, for all but the plainest case."""
        padding, kind, number, size = _DATA.unpack_from(packet)
        if kind != _CHANNEL_DATA or not padding or _DATA.size + size + padding != len(packet):
            return False
        ssh = self._ssh
        channel = ssh._channels.get(number)
        if (
            channel is None
            or not 0 < size <= channel._recv_window
            or channel._recv_state != "open"
            or channel._send_state in ("close_pending", "closed")
            or channel._encoding
            or channel._session is None
            or type(channel) not in _PLAIN_CHANNELS
        ):
            return False
        ssh._recv_seq = ssh._recv_seq + 1 & 0xFFFFFFFF
        channel._recv_window -= size
        self._arrived.setdefault(channel, []).append(packet[_DATA.size : _DATA.size + size])
        return True

    def _hand_out(self) -> None:
        """Deliver what has arrived: the packets of one turn together, which cost whoever writes them as much as one."""
        while self._arrived and self._ssh._transport is not None:
            channel = next(iter(self._arrived))
            data = b"".join(self._arrived.pop(channel))
            if channel._recv_paused:
                channel._recv_buf.append((data, None))
            elif channel._session is None:
                continue
            elif 2 * channel._recv_window < channel._init_recv_window:
                channel._deliver_data(data, None)  # and renews the window
            else:
                channel._session.data_received(data, None)
        self._arrived.clear()

    # --- what goes out

    def send(self, kind: int, *parts: bytes, handler: Any = None) -> None:
        """Send a packet, as the connection's `send_packet`, without SSH_MSG_IGNORE before it.

        That keeps off an attack on ciphers in CBC mode (RFC 4251, section 9.3.1), which is not for AEAD.
        """
        ssh = self._ssh
        encryption, cipher = self._sealing
        if encryption is not ssh._send_encryption:
            cipher = _adopt(ssh._send_encryption)
            self._sealing = ssh._send_encryption, cipher
        if (
            cipher is None
            or kind <= _LAST_OF_LOGIN
            or not (ssh._kex_complete and ssh._auth_complete)
            or ssh._rekey_bytes_sent >= ssh._rekey_bytes
            or (ssh._rekey_seconds and time.monotonic() >= ssh._rekey_time)
            or ssh._compressor
            or ssh._transport is None
        ):
            self._send_generally(kind, *parts, handler=handler)
            return
        padding = -(2 + sum(map(len, parts))) % _BLOCK_BYTES
        if padding < _LEAST_PADDING_BYTES:
            padding += _BLOCK_BYTES
        packet = b"".join((bytes((padding, kind)), *parts, self._drawn(padding)))
        length = _LENGTH.pack(len(packet))
        ssh._send_seq = ssh._send_seq + 1 & 0xFFFFFFFF
        ssh._rekey_bytes_sent += len(packet)
        ssh._transport.writelines((length, cipher.seal(length, packet)))

    def _drawn(self, count: int) -> bytes:
        """Return so many random bytes, which are used for nothing else."""
        drawn = self._random.read(count)
        if len(drawn) < count:
            self._random = BytesIO(os.urandom(_DRAWN_BYTES))
            drawn = self._random.read(count)
        return drawn


def write_data(channel: Any, data: bytes) -> None:
    """Write at a channel, as its `write` does. What the window takes becomes packets with no copy in between."""
    if channel._send_buf or channel._send_state != "open" or channel._encoding or type(channel) not in _PLAIN_CHANNELS:
        channel.write(data)
        return
    position, end, send = 0, len(data), channel._conn.send_packet
    view = memoryview(data)
    while position < end and (size := min(end - position, channel._send_window, channel._send_pktsize)):
        channel._send_window -= size
        part = view[position : position + size]
        send(_CHANNEL_DATA, _CHANNEL_AND_LENGTH.pack(channel._send_chan, size), part, handler=channel)
        position += size
    if position < end:
        channel.write(data[position:])  # waits for the window


def room_bytes(channel: Any) -> int:
    """Return how much of a channel's window is left beside what waits for it, below 0 where that is more."""
    room: int = channel._send_window - channel._send_buf_len
    return room


class ProgramInput:
    """A ProgramInput is the standard input of a program in the pod, as its `stdin` is, with fewer copies."""

    def __init__(self, process: "asyncssh.SSHClientProcess[bytes]") -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        write_data(self._process.channel, data)

    async def drain(self) -> None:
        await self._process.stdin.drain()


def _adopt(encryption: Any) -> _PacketCipher | None:
    """Put a _PacketCipher into an encryption that this module knows, and return it; None for another."""
    if type(encryption).__name__ != "GCMEncryption":
        return None
    cipher = encryption._cipher
    if not isinstance(cipher, _PacketCipher):
        cipher = encryption._cipher = _PacketCipher(cipher._key, cipher._iv)
    return cipher


_PLAIN_CHANNELS: Final = (asyncssh.SSHTCPChannel, asyncssh.SSHUNIXChannel, asyncssh.SSHClientChannel)
"""Their data is what the packet holds, and nothing is to be done about it but to deliver it."""
