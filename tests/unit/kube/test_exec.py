"""`pods/exec` over a WebSocket of a scripted API server."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ktpy.errors import ApiUnreachable, TargetUnsuitable
from ktpy.kube import exec as module
from ktpy.kube.client import Api
from ktpy.kube.exec import SUBPROTOCOLS, output_of
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NotFound, RightMissing
from tests.unit.kube.api_stub import kubeconfig

SUCCESS: Json = {"status": "Success"}
COMMAND = ["cat", "/proc/1/environ"]


class Server:
    """It sends these messages, or refuses."""

    messages: tuple[bytes, ...] = ()
    status: Json | None = SUCCESS
    refusal: tuple[int, str] | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.refusal:
            code, message = self.refusal
            return web.json_response({"kind": "Status", "message": message}, status=code)
        if "*/*" not in request.headers["Accept"]:  # as the kubelet
            return web.Response(status=406)
        self.asked.append((request.path, list(request.query.items())))
        opened = web.WebSocketResponse(protocols=SUBPROTOCOLS)
        await opened.prepare(request)
        assert opened.ws_protocol == SUBPROTOCOLS[0]
        for data in self.messages:
            await opened.send_bytes(data)
        if self.status is not None:
            await opened.send_bytes(b"\x03" + json.dumps(self.status).encode())
        await opened.close()
        return opened


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, Api]]:
    server = Server()
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api = await Api.load(kubeconfig(tmp_path, f"http://{host}:{port}", {"token": "t"}))
    yield server, api
    await api.close()
    await runner.cleanup()


async def test_what_a_command_prints(server: tuple[Server, Api]) -> None:
    scripted, api = server
    scripted.messages = (b"\x01A=1\x00", b"\x02a warning", b"\x01", b"\x01B=2\x00", b"\x07later")
    assert await output_of(api, "web-0", "main", COMMAND) == b"A=1\x00B=2\x00"
    [(path, query)] = scripted.asked
    assert path == "/api/v1/namespaces/shop/pods/web-0/exec"
    assert [value for key, value in query if key == "command"] == COMMAND
    assert {"container": "main", "stdout": "true", "stderr": "true"}.items() <= dict(query).items()


@pytest.mark.parametrize(
    ("messages", "status", "said"),
    [
        ((b"\x02cat: no such\nfile",), {"status": "Failure", "message": "exit code 1"}, "cat: no such file"),
        ((), {"status": "Failure", "message": "exec: cat: not found"}, "exec: cat: not found"),
    ],
)
async def test_one_that_does_not_run(server: tuple[Server, Api], messages: Any, status: Json, said: str) -> None:
    scripted, api = server
    scripted.messages, scripted.status = messages, status
    with pytest.raises(TargetUnsuitable, match=said):
        await output_of(api, "web-0", "main", COMMAND)


async def test_a_connection_that_is_cut_off(server: tuple[Server, Api]) -> None:
    scripted, api = server
    scripted.messages, scripted.status = (b"\x01A=",), None
    with pytest.raises(ApiUnreachable, match="cut off"):
        await output_of(api, "web-0", "main", COMMAND)


async def test_too_much(server: tuple[Server, Api], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted, api = server
    monkeypatch.setattr(module, "OUTPUT_LIMIT_BYTES", 3)
    scripted.messages = (b"\x01abcd",)
    with pytest.raises(TargetUnsuitable, match="too much"):
        await output_of(api, "web-0", "main", COMMAND)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (403, 'pods "web-0" is forbidden: User "al" cannot get resource "pods/exec"', RightMissing),
        (403, 'pods "web-0" is forbidden: ', RightMissing),
        (404, 'pods "web-0" not found', NotFound),
    ],
)
async def test_refusals(server: tuple[Server, Api], code: int, message: str, kind: type[Exception]) -> None:
    scripted, api = server
    scripted.refusal = (code, message)
    with pytest.raises(kind):
        await output_of(api, "web-0", "main", COMMAND)
