"""The server half of a session's control socket: one JSON request a line, one JSON answer a line, or a stream of them.

It runs in the session's event loop. `ktpy.daemon.control_client` is the other half.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ktpy.errors import KtpyError

Answer = dict[str, Any]
Verbs = Mapping[str, Callable[[], Answer | AsyncIterator[Answer]]]
"""A verb returns its answer, or an iterator whose every value is sent as it comes."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def serve(path: Path, verbs: Verbs) -> AsyncIterator[None]:
    """Answer requests on `path` while the body runs: `{"verb": V}` is answered with what `verbs[V]()` gives.

    Connections stay open until the client leaves or this process ends, so a client can wait for the end of the session.
    A stream takes the rest of its connection.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                found = _answer(line, verbs)
                if isinstance(found, AsyncIterator):
                    await _stream(found, reader, writer)
                    return
                await _send(writer, found)
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


def _answer(line: bytes, verbs: Verbs) -> Answer | AsyncIterator[Answer]:
    try:
        verb = verbs[json.loads(line)["verb"]]
    except (ValueError, KeyError, TypeError):
        return {"error": "unknown request"}
    try:
        return verb()
    except KtpyError as error:
        return {"error": error.message, "hint": error.hint}
    except Exception as error:
        logger.debug("a control request failed", exc_info=error)
        return {"error": f"The session could not answer: {error!r}."}


async def _stream(answers: AsyncIterator[Answer], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what comes until that ends or the client leaves."""

    async def send_all() -> None:
        with suppress(ConnectionError):
            async for answer in answers:
                await _send(writer, answer)
        writer.close()  # ends the wait below

    sending = asyncio.create_task(send_all(), name="control stream")
    try:
        await reader.read()  # a client that listens says nothing more: what comes is the end of the connection
    finally:
        sending.cancel()


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
