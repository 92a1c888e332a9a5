"""A port of a dev container, as the laptop of a mesh sees it."""

import asyncio
from typing import Any

import pytest

from ktpy.sessions.dev_share import DevPort


class Uplink:
    """A dev container in which a program listens on one address, or none."""

    def __init__(self) -> None:
        self.listens_on: str | None = None
        self.dialled: list[tuple[str, int]] = []

    async def create_connection(self, make: Any, host: str, port: int) -> Any:
        self.dialled.append((host, port))
        if host != self.listens_on:
            raise ConnectionRefusedError
        return asyncio.Transport(), make()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_it_is_up_until_a_connection_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(asyncio.Transport, "close", lambda _: None)
    uplink: Any = Uplink()
    port = DevPort(uplink, 80)
    assert str(port) == "port 80 of the dev container"
    assert not port.is_privileged
    assert not await port.probe()
    uplink.listens_on = address
    assert await port.probe()
    uplink.dialled.clear()
    assert await port.probe()
    assert uplink.dialled == [], "nothing is connected to find out while it is up"
    uplink.listens_on = None
    with pytest.raises(ConnectionRefusedError):
        await port.connect(asyncio.Protocol)
    assert not port.is_up
