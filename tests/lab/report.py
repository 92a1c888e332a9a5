"""What the lab says while it works: on standard error, so that standard output is the verb's own."""

import sys
import time


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


class Ticker:
    """Progress of something long: at most one line every `interval_s`, each with the time spent so far."""

    def __init__(self, interval_s: float = 15.0) -> None:
        self._interval_s = interval_s
        self._started = time.monotonic()
        self._said = self._started

    def tick(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= self._interval_s:
            self._said = now
            say(f"  {text} ({self.elapsed()})")

    def elapsed(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
