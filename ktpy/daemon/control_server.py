"""The server half of a session's control socket: one JSON request a line, one JSON answer a line, or many.

It runs in the session's event loop. `ktpy.daemon.control_client` is the other half.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.daemon.runtime import writing_to
from ktpy.errors import KtpyError

Answer = dict[str, Any]
Request = dict[str, Any]
Verbs = Mapping[str, Callable[[], Answer]]
Streams = Mapping[str, Callable[[Request], AsyncGenerator[Answer, None]]]
"""What is asked for by these is told answer by answer, until the client leaves. The first one comes at once."""
GATHER_S: Final = 0.002
"""An answer of a stream waits so long for others that are sent with it."""
AT_ONCE: Final = 64
"""So many are sent together, at most."""
IN_A_TURN: Final = 4
"""So many are told in one turn of the event loop, which is a tenth of a millisecond."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def serve(path: Path, verbs: Verbs, streams: Streams = MappingProxyType({})) -> AsyncIterator[None]:
    """Answer requests on `path` while the body runs: `{"verb": V}` is answered with what `verbs[V]()` returns, or with
    all that `streams[V](request)` yields: no faster than the client takes it.

    Connections stay open until the client leaves or this process ends, so a client can wait for the end of the session.
    Raises FolderNotWritable.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                request = _parsed(line)
                if stream := streams.get(request.get("verb", "")):
                    async with (
                        background_task(_stream(stream(request), writer), "tell a client") as telling,
                        background_task(reader.read(1), "wait for a client to leave") as leaving,
                    ):
                        await first_of(telling, leaving)
                    return
                await _send(writer, _answer(request, verbs))
        except (ConnectionError, ValueError):
            pass  # the client left, or sent a line beyond the reader's limit: nothing is owed to it
        except asyncio.CancelledError:
            pass  # the process ends; asyncio of Python 3.11 would complain on the terminal of a task that is cancelled
        finally:
            writer.close()

    with writing_to(path.parent):
        server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()


def _parsed(line: bytes) -> Request:
    try:
        request = json.loads(line)
    except ValueError:
        return {}
    return request if isinstance(request, dict) and isinstance(request.get("verb"), str) else {}


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(_line(answer))
    await writer.drain()


async def _stream(answers: AsyncGenerator[Answer, None], writer: asyncio.StreamWriter) -> None:
    gathered = _Gathered(writer)
    try:
        async with aclosing(answers):
            async for answer in answers:
                await gathered.add(answer)
    except ConnectionError:
        pass
    except Exception as error:
        await gathered.add(_failure(error))
    finally:
        gathered.send()


class _Gathered:
    """The _Gathered answers of a few milliseconds are sent together: whoever reads them wakes once."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._lines: list[bytes] = []
        self._sending: asyncio.TimerHandle

    async def add(self, answer: Answer) -> None:
        """Send it soon. Wait where the client is slow, and let the session do what else it has to do."""
        if not self._lines:
            self._sending = asyncio.get_running_loop().call_later(GATHER_S, self.send)
        self._lines.append(_line(answer))
        if len(self._lines) >= AT_ONCE:
            self.send()
        if len(self._lines) % IN_A_TURN == 0:
            await asyncio.sleep(0)
        await self._writer.drain()

    def send(self) -> None:
        """Send what there is."""
        lines, self._lines = self._lines, []
        if lines:
            self._sending.cancel()
            self._writer.writelines(lines)


def _line(answer: Answer) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _answer(request: Request, verbs: Verbs) -> Answer:
    if (verb := verbs.get(request.get("verb", ""))) is None:
        return {"error": "unknown request"}
    try:
        return verb()
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Answer:
    if isinstance(error, KtpyError):
        return {"error": error.message, "hint": error.hint}
    logger.debug("a control request failed", exc_info=error)
    return {"error": f"The session could not answer: {error!r}."}
