"""`ktpy watch --web`: the requests as a page on a port of the loopback, for who knows the token in its address."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import click
from aiohttp import web

from ktpy.cli import watched
from ktpy.cli.watch_feed import WatchFeed
from ktpy.errors import KtpyError
from ktpy.inspect.choice import Choice, parse_words
from ktpy.inspect.curl import curl
from ktpy.inspect.har import har
from ktpy.inspect.record import WatchedRequest

HOST = "127.0.0.1"
TOLD_EVERY_S = 0.1
SLOW_S = 30.0
"""So long a browser may take nothing; after that it asks anew, by itself."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WatchPage:
    """A WatchPage answers nobody without its token, no page of another origin, and under no name but the loopback's."""

    def __init__(self, feed: WatchFeed, *, secrets_shown: bool) -> None:
        self._feed, self._secrets_shown = feed, secrets_shown
        self._token = secrets.token_urlsafe(32)
        self._tabs: set[_Tab] = set()
        self._origins: dict[str, str] = {}
        """By the Host that a request may name."""
        self._html = files(__package__).joinpath("watch_page.html").read_text()
        self._headers = _headers(self._html)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield the address while the page is served."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._protect)
        app.add_routes(
            [
                web.get("/{token}/", self._page),
                web.get("/{token}/events", self._events),
                web.get("/{token}/archive", self._archive),
                web.get("/{token}/requests/{id}", self._request),
                web.get("/{token}/requests/{id}/curl", self._curl),
                web.post("/{token}/requests/{id}/replay", self._replay),
            ]
        )
        # The log of requests would have the token; a browser that leaves ends its stream of events at once.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            port = runner.addresses[0][1]
            self._origins = {host: f"http://{host}" for host in (f"{HOST}:{port}", f"localhost:{port}")}
            yield f"http://{HOST}:{port}/{self._token}/"
        finally:
            await runner.cleanup()

    def told(self, request: WatchedRequest | None) -> None:
        """Have the browsers told of a request, or of what else has changed."""
        for tab in self._tabs:
            if request is not None:
                tab.ids[request.id] = None
            tab.changed.set()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = self._origins.get(request.host)
        if origin is None or request.headers.get("Origin", origin) != origin:
            return web.Response(status=403, text="This page is for another address.\n")
        if not hmac.compare_digest(request.path.partition("/")[2].partition("/")[0].encode(), self._token.encode()):
            return web.Response(status=404, text="The address of the page has its token: ktpy watch --web prints it.\n")
        return await handler(request)

    async def _protect(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._html, content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            choice = _choice(request)
        except ValueError as error:
            await response.write(_event("refused", f"{error}."))
            return response
        tab = _Tab({one.id: None for one in self._feed.chosen(choice)})
        self._tabs.add(tab)
        try:
            while True:
                async with asyncio.timeout(SLOW_S):
                    await response.write(self._news(tab, choice))
                await tab.changed.wait()
                await asyncio.sleep(TOLD_EVERY_S)
        except TimeoutError:
            return response
        finally:
            self._tabs.discard(tab)

    def _news(self, tab: "_Tab", choice: Choice) -> bytes:
        ids, tab.ids = tab.ids, {}
        tab.changed.clear()
        requests = [one for one in map(self._feed.kept.get, ids) if one is not None and choice.takes(one)]
        told = [{"id": one.id, "cells": watched.cells(one, self._feed.why)} for one in requests]
        state = _event("state", {"title": self._feed.title, "state": self._feed.state})
        return (_event("requests", told) if told else b"") + state

    async def _archive(self, request: web.Request) -> web.Response:
        try:
            rows = self._feed.chosen(_choice(request))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}.")
        text = await asyncio.to_thread(lambda: json.dumps(har(rows, secrets=self._secrets_shown)))
        named = {"Content-Disposition": 'attachment; filename="ktpy-watch.har"'}
        return web.Response(text=text, content_type="application/json", headers=named)

    async def _request(self, request: web.Request) -> web.Response:
        return _text(watched.page(self._kept(request), self._feed.why))

    async def _curl(self, request: web.Request) -> web.Response:
        return web.Response(text=curl(self._kept(request), secrets=self._secrets_shown))

    async def _replay(self, request: web.Request) -> web.Response:
        try:
            return _text(await self._feed.replay(self._kept(request).id))
        except KtpyError as error:
            return web.Response(status=409, text=error.message)

    def _kept(self, request: web.Request) -> WatchedRequest:
        number = request.match_info["id"]
        found = self._feed.kept.get(int(number)) if re.fullmatch("[0-9]{1,18}", number) else None
        if found is None:
            raise web.HTTPNotFound(text=f"Request {number} is not kept.")
        return found


class _Tab:
    """A _Tab is one browser that is told."""

    def __init__(self, ids: dict[int, None]) -> None:
        self.ids = ids
        """Of what it has not been told of, in order."""
        self.changed = asyncio.Event()


def _headers(html: str) -> dict[str, str]:
    """Return what lets a browser run and fetch nothing but the page's own script and style, and keep nothing of it."""
    policy = {
        "default-src": "'none'",
        "script-src": _hash(html, "script"),
        "style-src": _hash(html, "style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(map(" ".join, policy.items())),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _hash(html: str, tag: str) -> str:
    """Return the source of the element as a Content-Security-Policy names it."""
    inner = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"


def _choice(request: web.Request) -> Choice:
    return parse_words(request.query.get("filter", ""))


def _event(kind: str, value: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def _text(lines: Iterable[str]) -> web.Response:
    return web.Response(text="\n".join(map(click.unstyle, lines)))
