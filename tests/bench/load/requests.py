"""Small HTTP requests: `python -m tests.bench.load.requests new|kept|many HOST PORT SECONDS MOST`.

Prints how long each took, in seconds. `new`: from connect(2) to the last byte of the answer, on a connection of its
own, one after the other. `kept`: from the request to the last byte, all on one connection. `many`: as kept, by
MANY_AT_ONCE at once, each on one of its own.
"""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.server import ANSWER

TIMEOUT_S = 10.0
MANY_AT_ONCE = 16
WARM_UP = 10  # the first few pay for caches, and are not counted


def fetch(connection: socket.socket, request: bytes) -> None:
    """Until the whole answer is here; EOFError when it does not come."""
    connection.sendall(request)
    answer = b""
    while len(answer) < len(ANSWER):
        data = connection.recv(4096)
        if not data:
            raise EOFError("the connection ended before the answer")
        answer += data
    if answer.lower() != ANSWER.lower():  # names of fields may be written otherwise on the way (RFC 9110, 5.1)
        raise ValueError(f"not the answer: {answer[:80]!r}")


def on_new_connections(host: str, port: int, duration_s: float, most: int) -> list[float]:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    took: list[float] = []
    deadline = time.monotonic() + duration_s
    while len(took) < most + WARM_UP and time.monotonic() < deadline:
        began = time.perf_counter()
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            fetch(connection, request)
            took.append(time.perf_counter() - began)
    return took[WARM_UP:]


def on_a_kept_connection(host: str, port: int, duration_s: float, most: int) -> list[float]:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    took: list[float] = []
    deadline = time.monotonic() + duration_s
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while len(took) < most + WARM_UP and time.monotonic() < deadline:
            began = time.perf_counter()
            fetch(connection, request)
            took.append(time.perf_counter() - began)
    return took[WARM_UP:]


def on_many_kept_connections(host: str, port: int, duration_s: float, most: int) -> list[float]:
    """`most` bounds each of them."""
    with ThreadPoolExecutor(MANY_AT_ONCE) as pool:
        under_way = [pool.submit(on_a_kept_connection, host, port, duration_s, most) for _ in range(MANY_AT_ONCE)]
    return [took_s for one in under_way for took_s in one.result()]


MEASURES = {"new": on_new_connections, "kept": on_a_kept_connection, "many": on_many_kept_connections}


def main(kind: str, host: str, port: str, duration_s: str, most: str) -> None:
    print(json.dumps(MEASURES[kind](host, int(port), float(duration_s), int(most))))


if __name__ == "__main__":
    main(*sys.argv[1:])
