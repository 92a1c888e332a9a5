"""A session's control socket that can be asked for the requests of a real local program, without a cluster."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from ktpy.aio.first_of import first_of
from ktpy.daemon import control_server
from ktpy.inspect.events import WatchBegun
from ktpy.serve.local_port import LocalPort
from ktpy.serve.watching import Watching
from ktpy.wire.route import ServicePort
from tests.kit.bridge import bridged
from tests.kit.ports import free_port

JSON = b'{"items": [1, 2], "of": "<b>alice</b> [red]"}'
BINARY = bytes(range(256))
SENT = {"Authorization": "Bearer t0ken", "User-Agent": "shop/1.0 (x)"}
TOLD_BODIES = {"/json": ("application/json", JSON), "/binary": ("application/octet-stream", BINARY)}


@dataclass
class WatchedSession:
    path: Path
    """Of the socket."""
    url: str
    """Leads to the local program as the gateway does."""
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Authorization of what the local program was asked."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it to have the session tell no more."""

    async def ask(self, *paths: str, method: str = "GET", body: bytes | None = None) -> None:
        async with aiohttp.ClientSession(headers=SENT) as client:
            for path in paths:
                await (await client.request(method, self.url + path, data=body)).read()

    async def serve(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path, request.headers.get("Authorization")))
        await request.read()
        kind, body = TOLD_BODIES.get(request.path, ("text/plain", b"no such page"))
        return web.Response(status=200 if request.path in TOLD_BODIES else 404, body=body, content_type=kind)


@asynccontextmanager
async def watched_session(folder: Path) -> AsyncIterator[WatchedSession]:
    """Run one until the body ends."""
    async with AsyncExitStack() as undo:
        session = WatchedSession(folder / "s.sock", "")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", session.serve)
        runner = web.AppRunner(app)
        await runner.setup()
        undo.push_async_callback(runner.cleanup)
        local = LocalPort(free_port())
        await web.TCPSite(runner, "127.0.0.1", local.number).start()
        session.url = f"http://127.0.0.1:{await undo.enter_async_context(bridged(local))}"

        begun = WatchBegun("mesh", "web", "shop", "5e55", "requests with VERSION: alice", 0)
        watching = Watching({ServicePort(80): local}, lambda _: begun)

        async def watch(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
            async with aclosing(watching.stream(request)) as events:
                ended = asyncio.create_task(session.ended.wait())
                while await first_of(event := asyncio.ensure_future(anext(events)), ended) is event:
                    yield event.result()
                event.cancel()
                await asyncio.wait({event})

        streams = {"watch": watch, "replay": watching.replay}
        await undo.enter_async_context(control_server.serve(session.path, {}, streams))
        yield session
