#!/usr/bin/env python3
"""What the bench loads, one file, standard library only: it runs in a pod. Every connection ends in order.

| port | does                                                                                              |
|------|---------------------------------------------------------------------------------------------------|
| 8080 | HTTP/1.1, a small answer to every request; the client ends the connection                          |
| 9001 | source: reads a line, seconds; sends as fast as it can for so long, then ends the stream           |
| 9002 | sink: reads blocks until the last one (see BLOCK_BYTES), then answers with a line: its timeline    |
| 9003 | echo; of datagrams, too                                                                           |

Port 9002 counts datagrams, and tells an asker (COUNT) how many it had before.

The ends are in the stream, not in half-closes, and nobody resets: a reset ends all of `kubectl port-forward`, and
containerd waits a second after the first half-close for the other.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable

HTTP_PORT, SOURCE_PORT, SINK_PORT, ECHO_PORT = 8080, 9001, 9002, 9003
BLOCK_BYTES = 1 << 20  # a block for the sink: a byte that is DATA, then the rest; the last block is the one byte LAST
DATA, LAST = b"\x00", b"\x01"
OBSERVE_EVERY_S = 0.02
STALL_S = 20  # a connection on which nothing moves for so long is given up
LONGEST_S = 60.0  # what a client may ask of the source

COUNT = b"count"

BODY = b"x" * 100 + b"\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Http(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        *requests, self.received = self.received.split(b"\r\n\r\n")
        for _ in requests:
            self.transport.write(ANSWER)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def memory_file() -> int:
    """One block of data for the sink as a file in memory: sendfile(2) copies nothing in user space."""
    descriptor = os.memfd_create("block")
    os.write(descriptor, DATA + os.urandom(BLOCK_BYTES - 1))
    return descriptor


def source(connection: socket.socket, block: int) -> None:
    deadline = time.monotonic() + min(float(connection.makefile("rb").readline()), LONGEST_S)
    while time.monotonic() < deadline:
        os.sendfile(connection.fileno(), block, 0, BLOCK_BYTES)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)  # the client leaves


def sink(connection: socket.socket) -> None:
    """MSG_TRUNC: the kernel throws TCP data away without copying it (tcp(7))."""
    buffer = bytearray(BLOCK_BYTES)
    total = 0
    timeline = [(time.monotonic(), total)]
    while (kind := connection.recv(1)) == DATA:
        left = BLOCK_BYTES - 1
        while left:
            count = connection.recv_into(buffer, left, socket.MSG_TRUNC)
            if not count:
                return
            left -= count
            total += count
            if time.monotonic() - timeline[-1][0] > OBSERVE_EVERY_S:
                timeline.append((time.monotonic(), total))
    if kind == LAST:
        timeline.append((time.monotonic(), total))
        connection.sendall(json.dumps(timeline).encode() + b"\n")
        connection.recv(1)  # the client leaves


def listen(port: int) -> socket.socket:
    return socket.create_server(
        ("", port), family=socket.AF_INET6, dualstack_ipv6=socket.has_dualstack_ipv6(), backlog=4096
    )


def accept_forever(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    def converse(connection: socket.socket) -> None:
        stall = struct.pack("@ll", STALL_S, 0)
        with connection, contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)
            serve(connection)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def datagram_socket(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind(("", port))
    return made


def echo_datagrams(server: socket.socket) -> None:
    while True:
        server.sendto(*server.recvfrom(65535))


def count_datagrams(server: socket.socket) -> None:
    count, buffer = 0, bytearray(65535)
    while True:
        size, program = server.recvfrom_into(buffer)
        if buffer[:size] == COUNT:
            server.sendto(b"%d" % count, program)
        else:
            count += 1


async def main() -> None:
    """Serve until SIGTERM (which pid 1 of a pod must handle itself)."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    block = memory_file()
    for port, serve in ((SOURCE_PORT, lambda connection: source(connection, block)), (SINK_PORT, sink)):
        threading.Thread(target=accept_forever, args=(listen(port), serve), daemon=True).start()
    for port, carry in ((ECHO_PORT, echo_datagrams), (SINK_PORT, count_datagrams)):
        threading.Thread(target=carry, args=(datagram_socket(port),), daemon=True).start()
    await loop.create_server(Echo, sock=listen(ECHO_PORT))
    await loop.create_server(Http, sock=listen(HTTP_PORT))  # last: the pod is ready when it answers
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
