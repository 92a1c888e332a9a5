"""The client half of a session's control socket for who runs an event loop: `ktpy.daemon.control_client` has none."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from ktpy.daemon.control_client import ANSWER_TIMEOUT_S, told
from ktpy.errors import KtpyError

LINE_LIMIT_BYTES = 16 << 20
"""Far beyond the longest answer: a request with two bodies and 64 KiB of headers."""


async def follow(path: Path, verb: str, **more: object) -> AsyncGenerator[dict[str, Any], None]:
    """Send one request to the session behind `path`; yield its answers as they come, until it ends.

    Raises KtpyError where the session does not answer, and with the session's own words where it cannot do this.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT_BYTES)
    except OSError as error:  # TimeoutError is one
        raise KtpyError(f"The session behind {path} is not reachable: {error}.") from error
    try:
        writer.write(json.dumps({"verb": verb, **more}).encode() + b"\n")
        while line := await _line(reader):
            yield told(json.loads(line))
    finally:
        writer.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line; nothing where the session has ended, in the middle of one too."""
    try:
        return await reader.readuntil()
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
