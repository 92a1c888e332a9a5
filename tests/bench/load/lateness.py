"""How late a program sleeps: `python -m tests.bench.load.lateness SECONDS` prints by how many seconds each time.

It has no network, so what it tells is the machine's: how long whoever is ready waits for a processor.
"""

import json
import sys
import time

SLEEP_S = 0.001


def sleeps(duration_s: float) -> list[float]:
    """Sleep again and again for so long; return the lateness of each, in seconds."""
    late: list[float] = []
    now = began = time.perf_counter()
    while now - began < duration_s:
        time.sleep(SLEEP_S)
        woken = time.perf_counter()
        late.append(woken - now - SLEEP_S)
        now = woken
    return late


if __name__ == "__main__":
    print(json.dumps(sleeps(float(sys.argv[1]))))
