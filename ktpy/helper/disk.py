"""Writing so that a full disk is noticed, and so that what was written survives a power failure."""

import os
from pathlib import Path


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: write(2) writes only a part where the disk is full, and fails the next time. Raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
