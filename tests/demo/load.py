#!/usr/bin/env python3
"""Asks a service of the demo shop steadily, and prints who answers, second by second. One file, standard library only.

    load.py URL HEADER VALUE RATE SECONDS     so many requests a second, each on a connection of its own

Ends with 1 where a request had no answer, and says why.
"""

import sys
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from threading import Thread
from urllib.request import Request, urlopen

AT_ONCE = 64
PATIENCE_S = 10.0
PODS, LAPTOP, NOBODY = "the pods", "your laptop", "nobody"


def ask(request: Request) -> tuple[str, str]:
    """Who answers, and what: the body's first line, or what went wrong."""
    try:
        with urlopen(request, timeout=PATIENCE_S) as answer:
            line = str(answer.readline().decode()).strip()
    except (OSError, HTTPException) as error:
        return NOBODY, str(error) or type(error).__name__
    return (PODS if " greets you from pod " in line else LAPTOP), line


def main(url: str, header: str, value: str, rate: int, seconds: int) -> int:
    request = Request(url, headers={header: value})
    asked: list[Future[tuple[str, str]]] = []
    begin = time.monotonic()

    def begin_all() -> None:
        for number in range(rate * seconds):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            asked.append(pool.submit(ask, request))

    total: Counter[str] = Counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        clock = Thread(target=begin_all)
        clock.start()
        print(f"  second  {LAPTOP:>11}  {PODS:>8}  {NOBODY:>6}", flush=True)
        for second in range(seconds):
            time.sleep(max(0.0, begin + second + 1 - time.monotonic()))
            while len(asked) < rate * (second + 1):
                time.sleep(0.01)
            answers = [one.result() for one in asked[rate * second : rate * (second + 1)]]
            by = Counter(who for who, _ in answers)
            total += by
            print(f"  {second + 1:>6}  {by[LAPTOP]:>11}  {by[PODS]:>8}  {by[NOBODY]:>6}", flush=True)
            for why in {told for who, told in answers if who == NOBODY}:
                print(f"          nobody: {why}", flush=True)
        clock.join()
    print(f"  {total.total()} requests: {', '.join(f'{total[who]} by {who}' for who in (LAPTOP, PODS, NOBODY))}")
    return min(1, total[NOBODY])


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    _, to, name, its, a_second, lasts = sys.argv
    sys.exit(main(to, name, its, int(a_second), int(lasts)))
