"""What the programs of a dev container have printed last, in two files that all who hold one write to."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE: Final = "programs.log"
OLD_FILE: Final = "programs.log.old"
FILE_BYTES: Final = 1 << 20
"""A file that has so much is the old one."""
LOOK_S: Final = 0.2
READ_BYTES: Final = 64 << 10


class ProgramLog:
    """A ProgramLog has what one program prints. A disk that is full costs nothing but that."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self._path, self._name = folder / FILE, " ".join(words)
        self._note("")

    def write(self, data: bytes) -> None:
        with suppress(OSError), self._path.open("ab", buffering=0) as file:
            file.write(data)
            if file.tell() >= FILE_BYTES:
                self._path.rename(self._path.with_name(OLD_FILE))

    def end(self, code: int) -> None:
        self._note(f" ended with {code}")

    def _note(self, what: str) -> None:
        self.write(f"==> {self._name}{what} <==\n".encode())


def show(folder: Path, *, follows: bool) -> int:
    """Print all that there is; go on with what comes where it `follows`. Return 0 at the end."""
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # without a traceback
    with suppress(FileNotFoundError), (folder / OLD_FILE).open("rb") as file:
        _copy(file.fileno())
    while True:
        with suppress(FileNotFoundError), (folder / FILE).open("rb") as file:
            while follows and _is_file(file.fileno(), folder / FILE):
                _copy(file.fileno())
                time.sleep(LOOK_S)
            _copy(file.fileno())  # what came before another took its place
        if not follows:
            return 0
        time.sleep(LOOK_S)


def _copy(descriptor: int) -> None:
    """Print what has not been read yet."""
    while data := os.read(descriptor, READ_BYTES):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
