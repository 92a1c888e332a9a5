"""A headless Chromium that a test drives by the Chrome DevTools Protocol. It reaches the loopback only."""

import asyncio
import base64
import json
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.waiting import TIMEOUT_S

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *(
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1200,700",
        "--remote-debugging-port=0",
    ),
)


class Browser:
    """A Browser has one tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.complaints: list[str] = []
        """What the page's console has of errors, such as of its Content-Security-Policy."""

    async def _call(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        while True:
            told = await self._socket.receive_json(timeout=TIMEOUT_S)
            if told.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(told["params"]))
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]

    async def open(self, url: str) -> None:
        for domain in ("Log", "Runtime", "Page"):
            await self._call(f"{domain}.enable")
        await self._call("Page.navigate", url=url)

    async def value(self, script: str) -> Any:
        """Return what a piece of JavaScript amounts to."""
        return (await self._call("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def until(self, script: str) -> None:
        """Return when it is true."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while await self.value(script) is not True:
            if time.monotonic() > deadline_s:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"{script}: not within {TIMEOUT_S:g} s; the page:\n{text}\n{self.complaints}")
            await asyncio.sleep(0.02)

    async def screenshot(self) -> bytes:
        """Return it as PNG."""
        return base64.b64decode((await self._call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """Run one whose files are in `profile`."""
    command = ("chromium", *OPTIONS, f"--user-data-dir={profile}", "about:blank")
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60), aiohttp.ClientSession() as client:
            while not (line := (await process.stderr.readline()).decode()).startswith("DevTools listening on ws://"):
                assert line, "chromium has ended"
            host = line.split("/")[2]
            tabs = await (await client.get(f"http://{host}/json")).json()
            tab = next(one for one in tabs if one["type"] == "page")
            async with client.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
