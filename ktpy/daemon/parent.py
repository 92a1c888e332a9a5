"""The program that began this session by ktpy's Python API. It hears the events, and the session ends with it.

Between them is a pair of sockets. The program closes its end when the session is to end, and the system does so however
the program went.
"""

import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

KTPY: Final = (sys.executable, "-P", "-m", "ktpy")
"""How a process starts one of ktpy's commands. -P keeps code of the working folder out."""
VARIABLE: Final = "KTPY_PARENT"
"""It holds the number of the descriptor that the session has inherited."""
PATIENCE_S: Final = 1.0
"""So long a session waits, once, for a parent that does not read what it is told, as it is stopped."""


@cache
def parent() -> "socket.socket | None":
    """Return the session's end; None where nobody waits at another. What this process starts does not inherit it."""
    number = os.environ.pop(VARIABLE, "")
    if not number.isdecimal():
        return None
    import socket  # `ktpy --help` need not wait for it

    with suppress(OSError):  # it is a number that somebody has made up
        found = socket.socket(fileno=int(number))
        found.set_inheritable(False)
        found.settimeout(PATIENCE_S)
        return found
    return None


def tell(line: str) -> bool:
    """Return whether there is a parent, which is told this line. One that has not listened is told nothing any more."""
    if (program := parent()) is None:
        return False
    try:
        program.sendall(f"{line}\n".encode())
    except OSError:  # it is gone, or its time is over
        import socket

        with suppress(OSError):
            program.shutdown(socket.SHUT_WR)
    return True
