"""The client half of a session's control socket (`ktpy.daemon.control_server`): what commands ask a running session.

It is plain blocking sockets, so that `ktpy status` and `ktpy quit` start at once: asyncio alone takes 20 ms to import.
"""

import json
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ktpy.errors import KtpyError, SessionSilent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ktpy.observe.status import SessionStatus

ANSWER_TIMEOUT_S = 5.0
QUIT_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 90.0
"""Giving a service back waits for its endpoints, and for the requests that its gateway still has."""


def ask(path: Path, verb: str) -> dict[str, Any]:
    """Send one request to the session behind `path`; return its answer.

    Raises KtpyError where the session does not answer, and with the session's own words where it cannot do this.
    """
    with _connected(path, ANSWER_TIMEOUT_S) as connection, connection.makefile("rb") as lines:
        return _answer(connection, path, verb, lines)


def follow(path: Path, verb: str, **more: object) -> "Iterator[dict[str, Any]]":
    """Send one request to the session behind `path`; yield its answers as they come, until it ends.

    Raises KtpyError as `ask` does.
    """
    with _connected(path, ANSWER_TIMEOUT_S) as connection, connection.makefile("rb") as lines:
        yield _answer(connection, path, verb, lines, **more)
        connection.settimeout(None)
        with suppress(ConnectionError):
            for line in lines:
                yield told(json.loads(line))


def ask_status(path: Path) -> "SessionStatus":
    """Return the status of the session behind `path`. Raises KtpyError as `ask` does."""
    from ktpy.observe.status import decode_status  # not before there is a session

    return decode_status(ask(path, "status"))


def ask_each(paths: "Iterable[Path]") -> "tuple[dict[Path, SessionStatus], dict[Path, SessionSilent]]":
    """Return the status of each session that answers, and the error of each that does not, by their sockets.

    Raises KtpyError as `ask` does otherwise.
    """
    answered: dict[Path, SessionStatus] = {}
    silent: dict[Path, SessionSilent] = {}
    for path in paths:
        try:
            answered[path] = ask_status(path)
        except SessionSilent as error:
            silent[path] = error
    return answered, silent


def refuse_silent(silent: "Mapping[Path, SessionSilent]") -> None:
    """Raise SessionSilent where a session does not answer; of several, with the sentences of all."""
    if silent:
        errors = list(silent.values())
        raise SessionSilent(" ".join(one.message for one in errors), hint=errors[0].hint)


def quit_session(path: Path, timeout_s: float = QUIT_TIMEOUT_S) -> None:
    """Ask the session to end and wait until it has undone everything and is gone.

    Raises KtpyError as `ask` does, and where the session is still there after `timeout_s`.
    """
    with _connected(path, timeout_s) as connection, connection.makefile("rb") as lines:
        _answer(connection, path, "quit", lines)
        try:
            while connection.recv(4096):
                pass
        except TimeoutError:
            raise KtpyError(
                f"The session behind {path} was asked to end, but has not after {timeout_s:.0f} s.",
                hint="End its process, then run `sudo ktpy clean`.",
            ) from None
        except ConnectionError:
            pass  # gone, which is what was asked


def _connected(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(os.fspath(path))
    except OSError as error:
        connection.close()
        raise KtpyError(f"The session behind {path} is not reachable: {error}.") from error
    return connection


def _answer(connection: socket.socket, path: Path, verb: str, lines: BinaryIO, **more: object) -> dict[str, Any]:
    try:
        connection.sendall(json.dumps({"verb": verb, **more}).encode() + b"\n")
        answer = json.loads(lines.readline())
    except TimeoutError:
        pid, waited_s = _process_of(connection), connection.gettimeout()
        raise SessionSilent(
            f"The session of process {pid} has not answered within {waited_s:.0f} s; it is stopped, or hangs.",
            hint=f"`kill -CONT {pid}` has it go on. `kill -9 {pid}` ends it, and `ktpy clean` undoes what it leaves.",
        ) from None
    except (OSError, ValueError) as error:
        raise KtpyError(f"The session behind {path} did not answer: {error}.") from error
    return told(answer)


def _process_of(connection: socket.socket) -> int | str:
    """Return the id of the process that serves the other end; its socket's name where the system does not tell."""
    if hasattr(socket, "SO_PEERCRED"):  # Linux (unix(7))
        pid: int = struct.unpack("=3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid
    return str(connection.getpeername())


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer. Raises KtpyError where it is an error."""
    if "error" in answer:
        raise KtpyError(answer["error"], hint=answer.get("hint"))
    return answer
