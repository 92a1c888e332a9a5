"""A laptop that beats a number of times, each almost too late, and then falls silent; the time is its own."""

import os
import select as real
from dataclasses import dataclass


@dataclass
class Beats:
    """Stands for the modules `time` and `select` of the code under test."""

    descriptor: int
    """Where beats are written."""
    pause_s: float
    left: int
    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def select(
        self, readable: list[int], _writable: list[int], _exceptional: list[int], timeout_s: float
    ) -> tuple[list[int], list[int], list[int]]:
        if self.left and self.pause_s < timeout_s:
            self.left -= 1
            self.now_s += self.pause_s
            os.write(self.descriptor, b"{}\n")
        else:
            self.now_s += timeout_s
        return real.select(readable, [], [], 0)
