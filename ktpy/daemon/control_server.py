"""The server half of a session's control socket: one JSON request a line, one JSON answer a line.

It runs in the session's event loop. `ktpy.daemon.control_client` is the other half.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ktpy.daemon.runtime import writing_to
from ktpy.errors import KtpyError

Answer = dict[str, Any]
Verbs = Mapping[str, Callable[[], Answer]]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def serve(path: Path, verbs: Verbs) -> AsyncIterator[None]:
    """Answer requests on `path` while the body runs: `{"verb": V}` is answered with what `verbs[V]()` returns.

    Connections stay open until the client leaves or this process ends, so a client can wait for the end of the session.
    Raises FolderNotWritable.
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

    with writing_to(path.parent):
        server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()


def _answer(line: bytes, verbs: Verbs) -> Answer:
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
