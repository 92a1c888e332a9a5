"""The way past the API server, to ports of this machine."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from ktpy.errors import Forbidden, LinkLost
from ktpy.link import direct
from ktpy.link.direct import DirectWay

HERE = "127.0.0.1"


class Way(DirectWay):
    def __init__(self, port: int) -> None:
        self.up_told: list[str] = []
        self.down_told: list[str] = []
        self.port = port
        super().__init__(self._where, self.up_told.append, self.down_told.append)

    async def _where(self) -> AsyncIterator[tuple[str, int]]:
        yield HERE, self.port


async def test_it_leads_where_the_pod_is_whatever_it_is_asked_for() -> None:
    with socket.create_server((HERE, 0)) as server:
        way = Way(server.getsockname()[1])
        transport, _ = await way.create_connection(asyncio.Protocol, "pod", 2222)
        assert transport.get_extra_info("peername") == (HERE, way.port)
        assert way.address is None
        way.up()
        assert way.address == f"{HERE}:{way.port}"
        transport.abort()


async def test_what_refuses_is_a_lost_link_with_its_place() -> None:
    with socket.socket() as reserved:
        reserved.bind((HERE, 0))
        way = Way(reserved.getsockname()[1])
        with pytest.raises(LinkLost, match=rf"{HERE}:{way.port} cannot be reached"):
            await way.create_connection(asyncio.Protocol, "pod", 2222)


async def test_what_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server((HERE, 0), backlog=0) as server, ExitStack() as queue:
        for _ in range(3):  # more than the kernel lets wait
            client = queue.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        with pytest.raises(LinkLost, match="did not answer within"):
            await Way(server.getsockname()[1]).create_connection(asyncio.Protocol, "pod", 2222)


async def test_each_change_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "TELL_AFTER_S", 0.0)
    way = Way(22)
    way.failed(LinkLost("closed."))
    way.failed(LinkLost("closed."))
    way.up()
    way.up()
    way.down()
    way.failed(LinkLost("one of two ended."))
    assert (len(way.up_told), way.address) == (1, "")
    way.down()
    way.failed(Forbidden("may not create Services.", hint="Ask for it."))
    assert [told.partition(": ")[2] for told in way.down_told] == ["closed.", "may not create Services. Ask for it."]
