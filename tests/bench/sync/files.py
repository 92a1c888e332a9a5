"""Folders to be synchronized, of many small files."""

import os
from pathlib import Path

FILE_BYTES = 1000
FOLDER_FILES = 100


def make_files(folder: Path, count: int) -> None:
    """Make so many files, a hundred to a folder; no two are alike."""
    content = os.urandom(FILE_BYTES)
    for number in range(count):
        inner = folder / f"folder{number // FOLDER_FILES}"
        if number % FOLDER_FILES == 0:
            inner.mkdir(parents=True)
        (inner / f"file{number}.txt").write_bytes(b"%d\n" % number + content)
