"""The version that every message and document of the wire bears, and which other versions are understood.

A new key that a reader may pass over needs no new version. A change that a reader has to know of gets one, and both
ends keep understanding the version before it.
"""

from typing import Final

VERSION: Final = 1
UNDERSTOOD: Final = range(VERSION - 1, VERSION + 2)
"""The versions that this end understands: its own, the one before it, and the one after it."""


def is_understood(version: object) -> bool:
    """Return whether this end understands the other's version."""
    return type(version) is int and version in UNDERSTOOD


def version_difference(version: int) -> str | None:
    """Say in words how the other end's version differs from this end's; None when it does not."""
    if version == VERSION:
        return None
    return f"one version {'older' if version < VERSION else 'newer'}"
