"""A scripted API server, which gives only the answers a test gives it: in process, or with real HTTP and TLS."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from ktpy.kube.credentials import load_key_pair
from ktpy.kube.objects import Json
from tests.unit.kube.certificates import KeyPair
from tests.unit.kube.in_process import Reply, Request, in_process, over_http

INSECURE = {"insecure-skip-tls-verify": True}
"""The `cluster` section of a kubeconfig for a stub with TLS, without which no credentials are sent."""


def server_side(key_pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key_pair(context, (key_pair.certificate, key_pair.key))
    return context


@dataclass
class Answer:
    """One answer; `lines` makes it a watch that sends them and then stays open until `is_endless` is False."""

    body: Json | str = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    lines: list[Json] | None = None
    is_endless: bool = True


@dataclass
class Asked:
    """One request the stub has seen."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


class ApiStub:
    """Answers each `METHOD /path` with the answers scripted for it, in order; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._answers: dict[str, deque[Answer]] = {}
        self._released = asyncio.Event()
        self._heard = asyncio.Event()

    def script(self, route: str, *answers: Answer) -> None:
        """`route` is "GET /api/v1/pods", or "WATCH /api/v1/pods" for a GET with watch=true."""
        self._answers.setdefault(route, deque()).extend(answers)

    def asked_for(self, route: str) -> list[Asked]:
        method, _, path = route.partition(" ")
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    async def until_asked_for(self, route: str, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked_for(route)) < times:
                self._heard.clear()
                await self._heard.wait()

    async def answer(self, request: Request) -> Reply:
        method = "WATCH" if request.query.get("watch") else request.method
        asked = Asked(method, request.path, dict(request.query), request.headers, json.loads(request.body or "null"))
        self.asked.append(asked)
        self._heard.set()
        answers = self._answers.get(f"{method} {request.path}")
        if not answers:
            return json_reply(refused(404, "the server could not find the requested resource"), 404)
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if answer.lines is not None:
            return Reply(self._stream(answer))
        if isinstance(answer.body, str):
            return Reply(answer.body.encode(), answer.status, answer.headers)
        return json_reply(answer.body, answer.status, answer.headers)

    async def _stream(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        for line in answer.lines or []:
            yield json.dumps(line).encode() + b"\n"
        if answer.is_endless:
            await self._released.wait()

    def release(self) -> None:
        """End the watches that stay open."""
        self._released.set()


@asynccontextmanager
async def serving(
    tls: ssl.SSLContext | None = None, *, prepare: Callable[[ApiStub], None] = lambda _: None
) -> AsyncIterator[ApiStub]:
    stub = ApiStub()
    prepare(stub)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", partial(over_http, stub.answer))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    stub.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield stub
    finally:
        stub.release()
        await runner.cleanup()


@contextmanager
def stubbing() -> Iterator[ApiStub]:
    """Answer in the same process, without a socket."""
    stub = ApiStub()
    with in_process(stub.answer) as stub.url:
        try:
            yield stub
        finally:
            stub.release()


def json_reply(body: Json, status: int, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
    return Reply(json.dumps(body).encode(), status, headers)


def refused(code: int, message: str, **details: Any) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message} | (
        {"details": details} if details else {}
    )


def refusing(code: int, message: str, **details: Any) -> Answer:
    return Answer(refused(code, message, **details), status=code)


def forbidding() -> Answer:
    return refusing(403, 'User "al" cannot do that')


def listed(*items: Json, version: str = "1", more: str = "") -> Answer:
    metadata = {"resourceVersion": version} | ({"continue": more} if more else {})
    return Answer({"kind": "List", "metadata": metadata, "items": list(items)})


def watched(*changes: tuple[str, Json], is_endless: bool = True) -> Answer:
    return Answer(lines=[{"type": kind, "object": item} for kind, item in changes], is_endless=is_endless)


def kubeconfig(path: Path, server: str, user: Json | None = None, cluster: Json | None = None) -> str:
    """Write a kubeconfig with one context in namespace `shop`; the answer is its path, as an option would give it."""
    document = {
        "clusters": [{"name": "stub", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "al", "user": user or {}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "al", "namespace": "shop"}}],
        "current-context": "stub",
    }
    file = path / "config"
    file.write_text(json.dumps(document))
    return str(file)
