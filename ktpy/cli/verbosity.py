"""`-v` and `-vv`: what ktpy and its libraries log is shown on the terminal."""

import logging

from ktpy.cli import render


class _CleanFormatter(logging.Formatter):
    """A _CleanFormatter keeps control characters off the terminal, and lines from outside off its left edge."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n  ".join(map(render.clean, super().format(record).splitlines()))


def say_more(count: int) -> None:
    """Show ktpy's warnings, with 1 also what it does, and with more all that it logs."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(count, logging.DEBUG)
    shown = logging.StreamHandler()
    shown.setFormatter(_CleanFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[shown])
    logging.getLogger("ktpy").setLevel(level)
