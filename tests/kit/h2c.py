"""HTTP/2 in clear text with prior knowledge, as gRPC speaks it: a server and a client with trailers and streaming."""

import socket
from collections.abc import Iterable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events

from tests.kit.tcp_server import Serve

Headers = list[tuple[str, str]]


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket, *, is_client: bool) -> None:
        self.socket = connection
        config = h2.config.H2Configuration(client_side=is_client, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def events(self) -> Iterator[h2.events.Event]:
        """Until the connection ends; what was received is acknowledged at once."""
        while data := self.socket.recv(65536):
            for event in self.h2.receive_data(self._heeded(data)):
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            self.flush()

    def _heeded(self, data: bytes) -> bytes:
        return data


def _text(headers: Iterable[Any]) -> dict[str, str]:
    """h2's stubs leave open whether it decoded them, as its configuration says here."""
    return {str(name): str(value) for name, value in headers}


def grpc(name: str) -> Serve:
    """A server that answers each request with its name, then each piece of data as it comes, then trailers."""

    def serve(connection: socket.socket) -> None:
        peer = Peer(connection, is_client=False)
        for event in peer.events():
            match event:
                case h2.events.RequestReceived(stream_id=stream):
                    peer.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                    peer.h2.send_data(stream, name.encode())
                case h2.events.DataReceived(stream_id=stream, data=data) if data:
                    peer.h2.send_data(stream, data)
                case h2.events.StreamEnded(stream_id=stream):
                    peer.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    return serve


class Call:
    """One stream of a client: what came so far."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = False


class Client(Peer):
    def __init__(self, connection: socket.socket, *, heeds_goaway: bool = True) -> None:
        super().__init__(connection, is_client=True)
        self._heeds_goaway = heeds_goaway
        self._unread = b""
        self._calls: dict[int, Call] = {}
        self._incoming = self.events()

    def _heeded(self, data: bytes) -> bytes:
        """Leave GOAWAY out (RFC 9113, 6.8), as if it had not arrived yet: h2 takes no answer after it."""
        if self._heeds_goaway:
            return data
        self._unread, heeded = self._unread + data, b""
        while len(self._unread) >= 9 and len(self._unread) >= (end := 9 + int.from_bytes(self._unread[:3], "big")):
            heeded += self._unread[:end] if self._unread[3] != 7 else b""
            self._unread = self._unread[end:]
        return heeded

    def open(self, headers: Headers) -> tuple[int, Call]:
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "web"), (":path", "/s/m"), ("te", "trailers")]
        self.h2.send_headers(stream, head + headers)
        self.flush()
        self._calls[stream] = Call()
        return stream, self._calls[stream]

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def read(self) -> None:
        """Take in one event."""
        event = next(self._incoming)
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                self._calls[stream].headers = _text(headers)
            case h2.events.DataReceived(stream_id=stream, data=data):
                self._calls[stream].body += data
            case h2.events.TrailersReceived(stream_id=stream, headers=headers):
                self._calls[stream].trailers = _text(headers)
            case h2.events.StreamEnded(stream_id=stream):
                self._calls[stream].ended = True
            case h2.events.StreamReset(stream_id=stream):
                raise ConnectionResetError(f"stream {stream} was reset")
