"""The kernel's own word about routes that others add and take away."""

import asyncio
import os
import socket

import pytest

from ktpy.capture.tun.route_changes import RouteChanges
from tests.net.conftest import TUN_NAME, ip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.mark.usefixtures("tun_fd")
async def test_what_others_change_is_heard() -> None:
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "far0")
    ip("link", "set", "vpn0", "addrgenmode", "none", "up")
    changes = RouteChanges(socket.if_nametoindex(TUN_NAME))
    ip("route", "add", "10.9.0.0/16", "dev", TUN_NAME)
    await asyncio.sleep(0.01)  # the kernel has told it when `ip` ends
    assert not changes._heard.is_set()
    for change in ("add", "10.96.5.0/24", "dev", "vpn0"), ("del", "10.9.0.0/16", "dev", TUN_NAME):
        ip("route", *change)
        async with asyncio.timeout(60):
            await changes.wait()
    changes.close()
