"""Requests of which some may break: `python -m tests.bench.load.broken HOST PORT COUNT`.

Each is the one request of a connection of its own; prints how many of them had no answer.
"""

import json
import socket
import sys

from tests.bench.load.requests import fetch

TIMEOUT_S = 3.0


def broken(host: str, port: int, count: int) -> int:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    found = 0
    for _ in range(count):
        try:
            with socket.create_connection((host, port), TIMEOUT_S) as connection:
                fetch(connection, request)
        except (OSError, EOFError, ValueError):
            found += 1
    return found


if __name__ == "__main__":
    print(json.dumps(broken(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
