"""Throughput: `python -m tests.bench.load.streams down|up HOST PORT FLOWS SECONDS` prints each flow's timeline."""

import json
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.server import BLOCK_BYTES, LAST, OBSERVE_EVERY_S, memory_file

CONNECT_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 20.0  # what was sent may still lie in buffers

Timeline = list[tuple[float, int]]


def receive(host: str, port: int, duration_s: float) -> Timeline:
    """Have the source send for so long; what arrived by when."""
    with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as connection:
        connection.settimeout(DRAIN_TIMEOUT_S)
        connection.sendall(b"%f\n" % duration_s)
        buffer = bytearray(BLOCK_BYTES)
        total = 0
        timeline: Timeline = [(time.monotonic(), total)]
        while count := connection.recv_into(buffer, BLOCK_BYTES, socket.MSG_TRUNC):
            total += count
            if time.monotonic() - timeline[-1][0] > OBSERVE_EVERY_S:
                timeline.append((time.monotonic(), total))
    return [*timeline, (time.monotonic(), total)]


def send(host: str, port: int, duration_s: float) -> Timeline:
    """Send to the sink for so long; what it says arrived there by when."""
    block = memory_file()
    with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as connection:
        connection.settimeout(None)  # sendfile(2) must block
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            offset = 0
            while offset < BLOCK_BYTES:
                offset += os.sendfile(connection.fileno(), block, offset, BLOCK_BYTES - offset)
        connection.settimeout(DRAIN_TIMEOUT_S)
        connection.sendall(LAST)
        answer = connection.makefile("rb").readline()
    os.close(block)
    return [(moment_s, count) for moment_s, count in json.loads(answer)]


def main(direction: str, host: str, port: str, flows: str, duration_s: str) -> None:
    transfer = {"down": receive, "up": send}[direction]
    with ThreadPoolExecutor(int(flows)) as pool:
        running = [pool.submit(transfer, host, int(port), float(duration_s)) for _ in range(int(flows))]
        print(json.dumps([flow.result() for flow in running]))


if __name__ == "__main__":
    main(*sys.argv[1:])
