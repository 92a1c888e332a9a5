"""Datagrams: `python -m tests.bench.load.datagrams round-trips HOST PORT SECONDS MOST`, or `rate HOST PORT SIZE TIME`.

`round-trips` prints how long each took, in seconds, one after the other; one that is lost took TIMEOUT_S. `rate` prints
the highest rate, in datagrams a second, at which none was lost in so many seconds, 0 where some were at the lowest.
"""

import json
import socket
import sys
import time

from tests.bench.server import COUNT

TIMEOUT_S = 1.0
WARM_UP = 10
PAUSE_S = 0.001  # between bursts; a rate is kept on average
SETTLE_S = 0.3
RATES = (1000, 2000, 5000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 70_000, 100_000)


def program(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(TIMEOUT_S)
    made.connect((host, port))
    return made


def round_trips(host: str, port: str, duration_s: str, most: str) -> list[float]:
    took: list[float] = []
    deadline = time.monotonic() + float(duration_s)
    with program(host, int(port)) as app:
        while len(took) < int(most) + WARM_UP and time.monotonic() < deadline:
            payload = len(took).to_bytes(4, "big") * 16
            began = time.perf_counter()
            app.send(payload)
            try:
                while app.recv(2048) != payload:
                    pass  # it was given up before
            except TimeoutError:
                pass
            took.append(time.perf_counter() - began)
    return took[WARM_UP:]


def is_lossless(app: socket.socket, size: int, rate: int, duration_s: float) -> bool:
    """Send at this rate for so long, and ask how many have arrived."""
    before, began, sent = _count(app), time.monotonic(), 0
    payload = bytes(size)
    while (now := time.monotonic() - began) < duration_s:
        for _ in range(int(now * rate) - sent):
            app.send(payload)
            sent += 1
        time.sleep(PAUSE_S)
    time.sleep(SETTLE_S)
    return sent >= 0.9 * rate * duration_s and _count(app) - before == sent


def _count(app: socket.socket) -> int:
    app.send(COUNT)
    return int(app.recv(64))


def best_rate(host: str, port: str, size: str, duration_s: str) -> int:
    best = 0
    with program(host, int(port)) as app:
        for rate in RATES:
            if not is_lossless(app, int(size), rate, float(duration_s)):
                break
            best = rate
    return best


if __name__ == "__main__":
    print(json.dumps({"round-trips": round_trips, "rate": best_rate}[sys.argv[1]](*sys.argv[2:])))
