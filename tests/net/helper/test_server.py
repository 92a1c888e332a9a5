"""What the helper refuses."""

import asyncio
import os
import socket
from ipaddress import IPv4Address

import pytest

from ktpy.errors import HelperFailed
from ktpy.helper.client import HelperClient
from tests.kit.waiting import until
from tests.net.helper.machine import Machine
from tests.net.helper.session import LOOPBACK, NETWORKS, SEARCH, opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.mark.parametrize(
    "packet",
    [
        b"\x00\xff garbage",
        b"[]",
        b'{"Shutdown": {}}',
        b'{"OpenTun": {"mtu_bytes": "1500"}}',
        b'{"OpenTun": {"mtu_bytes": 1500, "name": "eth0"}}',
        b'{"AddRoutes": {"networks": ["0.0.0.0/0"]}}',
        b'{"AddRoutes": {"networks": ["10.96.0.0/16", "::/0"]}}',
        b'{"AddRoutes": {"networks": ["127.1.0.0/16"]}}',
        b'{"BindDns": {"addresses": ["0.0.0.0"]}}',
        b'{"BindDns": {"addresses": ["127.0.0.1"]}}',
        b'{"SetResolver": {"nameservers": ["8.8.8.8"], "search": [], "routing_domains": [], "cluster_domain": "a"}}',
        b'{"AddRoutes": {"networks": [' + b'"10.96.0.0/16",' * 20_000 + b"]}}",
    ],
    ids=lambda packet: packet[:60].decode("latin-1"),
)
async def test_what_is_not_allowed_is_refused_and_changes_nothing(
    box: Machine, helper: HelperClient, packet: bytes
) -> None:
    async with opened(helper):
        await until(lambda: "local fd6b:7470:79::1" in box.run("ip", "-6", "route", "show", "table", "local"))
        before = box.state()
        helper._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        answer = asyncio.get_running_loop().create_future()
        helper._channel._waiting.append(answer)
        helper._channel._socket.send(packet)
        reply, _ = await answer
        assert reply.error == "HelperFailed"
        assert box.state() == before
        await helper.add_routes(NETWORKS)  # and it still serves


async def test_descriptors_are_not_accepted(helper: HelperClient) -> None:
    answer = asyncio.get_running_loop().create_future()
    helper._channel._waiting.append(answer)
    socket.send_fds(helper._channel._socket, [b'{"Recover": {}}'], [0])
    reply, _ = await answer
    assert "descriptors" in reply.message


async def test_no_name_server_of_somebody_else(helper: HelperClient) -> None:
    async with opened(helper):
        with pytest.raises(HelperFailed, match="bound port 53"):
            await helper.set_resolver([LOOPBACK], search=SEARCH, cluster_domain="cluster.local")


async def test_port_53_in_use(box: Machine, helper: HelperClient) -> None:
    [first] = await helper.bind_dns([LOOPBACK])
    with pytest.raises(HelperFailed, match=r"Port 53 on 127\.18\.0\.53 cannot be bound"):
        await helper.bind_dns([IPv4Address("127.18.1.53"), LOOPBACK])
    [second] = await helper.bind_dns([IPv4Address("127.18.1.53")])  # the failed request left nothing bound
    for sock in (first.udp, first.tcp, second.udp, second.tcp):
        sock.close()
