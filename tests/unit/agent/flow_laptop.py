"""A laptop for the relay of flows: the other ends of its channels, as sshd would have them, in one thread with it."""

import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from ktpy_agent import flow_relay
from ktpy_agent.flow_relay import FlowRelay

from ktpy.wire.datagram import mapped
from ktpy.wire.flows import CONTROL, DIAL, FLOW, NOTE_BYTES, TOKEN_BYTES, Note, NoteParser, Opening

TOKEN = bytes(TOKEN_BYTES)
LOOPBACK = mapped(ip_address("127.0.0.1").packed)
PATIENCE_S = 10.0


class Laptop:
    """It has the relay run whenever it waits."""

    def __init__(self, directory: Path) -> None:
        self.now_s = 0.0
        """The relay's clock."""
        self.path = directory / "flows.sock"
        self.register = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.register.bind(str(directory / "agent.sock"))
        self.register.listen()
        self.register.setblocking(False)
        bulk = flow_relay.listen_for_bulk(directory / "bulk-port")
        self.bulk_port: int = bulk.getsockname()[1]
        self.relay = FlowRelay(flow_relay.listen(self.path), directory / "agent.sock", bulk, lambda: self.now_s)
        self.control = self.channel(CONTROL, 600)
        self.notes = NoteParser()
        self.told: list[Note] = []

    def close(self) -> None:
        self.relay.close()
        self.register.close()

    def channel(self, kind: int, number: int, token: bytes = TOKEN) -> socket.socket:
        """One that leads, where it is for a new flow, to port 1 of loopback."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.connect(str(self.path))
        channel.setblocking(False)
        channel.send(Opening(kind, token, number, 1, LOOPBACK).encoded())
        return channel

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the relay until the condition comes true; what it has told is in `told`."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {PATIENCE_S:g} s; it has told {self.told}"
            self.turn()

    def turn(self, timeout_s: float = 0.001) -> None:
        self.now_s += 0.01
        self.relay.turn(timeout_s)
        if self.control.fileno() < 0:
            return
        try:
            self.told += self.notes.feed(self.control.recv(NOTE_BYTES * 1000))
        except BlockingIOError:
            return

    def tell(self, *notes: Note) -> None:
        self.control.send(b"".join(note.encoded() for note in notes))

    def hear(self, kind: int, flow: int = 1) -> Note:
        """Wait for the next note of this kind, and forget those before it."""
        while True:
            self.until(lambda: bool(self.told))
            note = self.told.pop(0)
            if (note.kind, note.flow) == (kind, flow):
                return note

    def dial(self, port: int, flow: int = 1) -> socket.socket:
        self.tell(Note(DIAL, flow, port, LOOPBACK))
        return self.channel(FLOW, flow)

    def lose_link(self, *channels: socket.socket) -> None:
        """As when sshd ends."""
        for channel in (self.control, *channels):
            channel.close()
        self.relay.turn(0.001)

    def link(self) -> None:
        """Have another link."""
        self.control, self.notes = self.channel(CONTROL, 600), NoteParser()
        self.told.clear()


class Target:
    """A listening socket of the pod's network."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop = laptop
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]

    def accept(self) -> socket.socket:
        accepted: list[socket.socket] = []

        def has_come() -> bool:
            try:
                accepted.append(self.listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.laptop.until(has_come)
        accepted[0].setblocking(False)
        return accepted[0]


def receive(laptop: Laptop, sock: socket.socket, count: int) -> bytes:
    """Receive so many bytes, fewer at the end of the stream, while the relay runs."""
    received, has_ended = bytearray(), False

    def is_complete() -> bool:
        nonlocal has_ended
        try:
            data = sock.recv(count - len(received))
        except BlockingIOError:
            return False
        received.extend(data)
        has_ended = not data
        return has_ended or len(received) == count

    laptop.until(is_complete)
    return bytes(received)
