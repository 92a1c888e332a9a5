"""A connection to the shadow pod's stand-in agent, and a client of its channels."""

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

from ktpy.link.connection import AgentConnection
from ktpy.link.session import SHADOW_SESSION
from ktpy.wire.pod import SESSION_BEAT_S
from ktpy.wire.session import AgentHello
from tests.component.link.sshd import Sshd

HELLO = {
    "version": 1,
    "agent": "9.9",
    "resolv_conf": {"nameservers": ["10.96.0.10"], "search": ["shop.svc.cluster.local"]},
}
AGENT = f"""
import os, sys
print({json.dumps(json.dumps(HELLO))}, flush=True)
with open("beats", "ab", buffering=0) as beats:
    while beat := os.read(0, 100):
        beats.write(beat)
        if os.path.exists("quit"):
            sys.exit("told to quit")
    beats.write(b"EOF")
"""


async def open_connection(
    sshd: Sshd, *, beat_interval_s: float = SESSION_BEAT_S, **patience: Any
) -> AgentConnection[AgentHello]:
    command = replace(SHADOW_SESSION, beat_interval_s=beat_interval_s)
    return await AgentConnection.open(asyncio.get_running_loop(), sshd.key, command, replace(sshd.place, **patience))


class Client(asyncio.Protocol):
    """What would be a relay: remembers everything."""

    def __init__(self, *, half_open: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.half_open = half_open
        self.received = bytearray()
        self.arrived = asyncio.Condition()
        self.eof: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert not self.lost.done()
        self.received += data

    def eof_received(self) -> bool:
        self.eof.set_result(None)
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        assert self.may_write.is_set(), "paused twice"
        self.may_write.clear()
        self.pauses += 1

    def resume_writing(self) -> None:
        assert not self.may_write.is_set(), "resumed twice"
        self.may_write.set()


async def reply_after_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()
    writer.write(b"%d bytes" % len(data))
    writer.close()
