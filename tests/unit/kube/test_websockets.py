"""Tests of what `test_exec.py` does not reach: what a WebSocket goes over, and what is told of one that is refused."""

from pathlib import Path

import pytest

from ktpy.errors import ApiUnreachable
from ktpy.kube.client import Api
from ktpy.kube.refusals import NeverSent
from ktpy.kube.websockets import NoWebSocket, open_websocket
from tests.unit.kube import api_stub
from tests.unit.kube.api_stub import Answer, ApiStub


async def test_a_server_that_answers_as_to_any_request(stub: ApiStub, api: Api) -> None:
    stub.script("GET /exec", Answer())
    with pytest.raises(NoWebSocket, match="cannot be reached"):
        async with open_websocket(api._connections, f"{stub.url}/exec", [("X-Ours", "1")], ["v5.channel.k8s.io"]):
            pass
    [asked] = stub.asked
    assert (asked.headers["X-Ours"], asked.headers["Sec-WebSocket-Protocol"]) == ("1", "v5.channel.k8s.io")


async def test_a_server_that_is_not_there(tmp_path: Path, closed_port: int) -> None:
    api = await Api.load(api_stub.kubeconfig(tmp_path, f"http://127.0.0.1:{closed_port}"))
    with pytest.raises(NeverSent, match="Connection refused") as raised:
        async with api.websocket("/exec", [], ["v5.channel.k8s.io"]):
            pass
    assert isinstance(raised.value, ApiUnreachable)
    assert "is the cluster running" in (raised.value.hint or "")
