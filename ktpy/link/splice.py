"""Two transports joined to one connection. Bytes, ends of stream, pauses and resets are carried over both ways."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import cast

from ktpy.errors import KtpyError

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""This struct linger (on, 0 s) makes the kernel send a reset instead of a FIN (socket(7))."""


class End(asyncio.Protocol):
    """An End is one of the two ends of a spliced connection. What it receives is written at `other`."""

    __slots__ = ("_early", "_is_full", "_write", "eof", "error", "lost", "other", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self.eof = False
        self.lost = False
        self.error: Exception | None = None
        self._early: list[bytes] = []
        self._is_full = False
        self._write: Callable[[bytes], None] = self._keep

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._write(data)

    def _keep(self, data: bytes) -> None:
        """Hold what arrives before the other end is there. uvloop delivers one piece even if reading is paused."""
        self._early.append(data)
        self.pause_reading()

    @property
    def early(self) -> bytes:
        """What has come before the other end was there."""
        return b"".join(self._early)

    def join(self, waiting: "End") -> None:
        """Splice this end and `waiting`, which was not read until now."""
        self.flow_into(waiting)
        waiting.flow_into(self)
        if not self._is_full:  # of what came early
            waiting.resume_reading()
        if waiting._is_full:  # noqa: SLF001 - of the same class
            self.pause_reading()

    def flow_into(self, other: "End") -> None:
        """Write at `other` what came before, and from now on what comes."""
        self.other = other
        out = other.transport
        assert out is not None  # noqa: S101  # both ends stand before they are joined
        self._write = _drop if other.lost else out.write
        if self._early and not other.lost:
            out.writelines(self._early)
        self._early = []
        if self.eof:
            self._pass_eof(other)
        if self.lost:
            other.end(self.error)

    def show(self, see: Callable[[bytes], None] | None) -> None:
        """Show each piece to `see` after it was written, from now on; with None, write only, as from the start."""
        if self.other is not None and self.other.transport is not None and not self.other.lost:
            write = self.other.transport.write
            self._write = write if see is None else partial(_write_and_show, write, see)

    def pause_writing(self) -> None:
        self._is_full = True
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.other is not None:
            self.other.resume_reading()

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        """Close the other end's writing half. This end stays open for the other direction."""
        self.eof = True
        if self.other is not None:
            self._pass_eof(self.other)
        return True

    def _pass_eof(self, other: "End") -> None:
        if other.eof:
            other.end(None)
            self.end(None)
        elif other.transport is not None and not other.transport.is_closing() and other.transport.can_write_eof():
            other.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.note_loss()
        self.error = exc
        if self.other is not None:
            self.other.end(exc)

    def note_loss(self) -> None:
        """Have the other end drop what it receives: writing there warns in asyncio and raises in uvloop."""
        self.lost = True
        if self.other is not None:
            self.other._write = _drop  # noqa: SLF001 - of the same class

    def end(self, error: Exception | None) -> None:
        """Close once everything is written; with an error reset at once, and drop what is not written."""
        if self.transport is None or self.lost:
            return
        if error is None:
            self.transport.close()
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):  # it may be gone already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


Dialed = Callable[[Callable[[], "Answerer"]], Awaitable[tuple[asyncio.Transport, "Answerer"]]]
"""Connects elsewhere, as `loop.create_connection` does. Raises OSError or KtpyError."""


class Accepted(End):
    """An Accepted is a connection that was accepted; it is joined to the one that `dial` makes for it, or reset."""

    __slots__ = ("_dial", "_joining")

    def __init__(self, dial: Dialed) -> None:
        super().__init__()
        self._dial = dial
        self._joining: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.get_running_loop().create_task(self._join(), name="join an accepted connection")

    async def _join(self) -> None:
        try:
            _, far = await self._dial(Answerer)
        except (OSError, KtpyError) as error:
            self.end(error)
            return
        self.join(far)
        if not far.is_full:
            self.resume_reading()


class Answerer(End):
    """An Answerer is the far end of an Accepted, which is not read until it is joined."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause_reading()

    @property
    def is_full(self) -> bool:
        return self._is_full


def _write_and_show(write: Callable[[bytes], None], see: Callable[[bytes], None], data: bytes) -> None:
    write(data)
    see(data)


def _drop(_data: bytes) -> None:
    """Do nothing with what nobody takes any more."""
