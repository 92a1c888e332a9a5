"""How glibc keeps the memory that a session frees and needs again at once."""

from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), from <malloc.h>."""
_PARAMETERS: Final = {_MMAP_THRESHOLD: 4 << 20, _TRIM_THRESHOLD: 8 << 20, _TOP_PAD: 1 << 20}
"""Bytes. What passes comes and goes in pieces of up to 256 KiB, some MiB at a time."""


def keep_freed_memory() -> None:
    """Keep up to 8 MiB of what is freed, where the C library is glibc.

    By default the kernel may get it back at each turn of a transfer, and clear the same pages for the next one: glibc's
    thresholds depend on what was freed before, and so did what an upload cost: 2.4 to 3.5 processor seconds per GB.
    """
    import ctypes  # asyncssh has it, too; `--help` has not

    with suppress(AttributeError, OSError, TypeError):  # musl and macOS have no mallopt, Windows has no such library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _PARAMETERS.items():
            mallopt(parameter, value)
