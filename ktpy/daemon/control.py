"""The control socket of a running session: one JSON request a line, one JSON answer a line.

The server half runs in the session's event loop. The client half is plain blocking sockets, so that `ktpy status` and
`ktpy quit` start at once.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ktpy.errors import KtpyError
from ktpy.observe.status import SessionStatus, decode_status

ANSWER_TIMEOUT_S = 5.0
QUIT_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 90.0
"""Giving a service back waits for its endpoints, and for the requests that its gateway still has."""

Verbs = dict[str, Callable[[], dict[str, Any]]]


@asynccontextmanager
async def serve(path: Path, verbs: Verbs) -> AsyncIterator[None]:
    """Answer requests on `path` while the body runs: `{"verb": V}` is answered with what `verbs[V]()` returns.

    Connections stay open until the client leaves or this process ends, so a client can wait for the end of the session.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(_answer(line, verbs)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client left, or sent a line beyond the reader's limit: nothing is owed to it
        finally:
            writer.close()

    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer), name="control connection")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()


def _answer(line: bytes, verbs: Verbs) -> dict[str, Any]:
    try:
        return verbs[json.loads(line)["verb"]]()
    except (ValueError, KeyError, TypeError):
        return {"error": "unknown request"}


def ask(path: Path, verb: str) -> dict[str, Any]:
    """One request to the session behind `path`. Raises KtpyError where it does not answer."""
    with _connected(path, ANSWER_TIMEOUT_S) as connection:
        return _exchange(connection, path, verb)


def ask_status(path: Path) -> SessionStatus:
    """What the session behind `path` is at this moment. Raises KtpyError where it does not answer."""
    return decode_status(ask(path, "status"))


def quit_session(path: Path, timeout_s: float = QUIT_TIMEOUT_S) -> None:
    """Ask the session to end and wait until it has undone everything and is gone."""
    with _connected(path, timeout_s) as connection:
        _exchange(connection, path, "quit")
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


def _exchange(connection: socket.socket, path: Path, verb: str) -> dict[str, Any]:
    connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
    answer = b""
    try:
        while not answer.endswith(b"\n"):
            chunk = connection.recv(65536)
            if not chunk:
                break
            answer += chunk
        parsed: dict[str, Any] = json.loads(answer)
    except (OSError, ValueError) as error:
        raise KtpyError(f"The session behind {path} did not answer: {error}.") from error
    return parsed
