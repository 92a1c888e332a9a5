"""The front of mode `proxy`: what it serves, and what it tells."""

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ktpy.capture.proxy.destination import DialFailure
from ktpy.capture.proxy.front import ProxyFront
from ktpy.capture.spec import LINK_WITHIN_S
from ktpy.dns.zone import Zone
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.observe.counters import CounterReaders
from ktpy.observe.status import DnsStatus
from ktpy.sessions.options import listen_for_proxy
from ktpy.wire.session import AgentHello
from tests.unit.capture.proxy.running import dial_from_pod
from tests.unit.dns.kube import service

HELLO = AgentHello("0.1.0", ("10.96.0.10",), ("shop.svc.corp.example", "svc.corp.example"), 1)
UPLINK = cast(Any, SimpleNamespace(create_connection=dial_from_pod))


async def never(_: object) -> None:
    raise AssertionError("no alias is routed")


async def test_from_the_port_to_the_names() -> None:
    counters: CounterReaders = {}
    async with AsyncExitStack() as undo, asyncio.TaskGroup() as work:
        front = await ProxyFront.prepare(listen_for_proxy(None), undo, lambda _: None)
        assert front.name == f"the proxy on 127.0.0.1:{front.port}"
        assert front.name_servers == []
        carrier = await front.start_pump(UPLINK, None, undo, dial=UPLINK.create_connection)
        serving = work.create_task(carrier.wait_closed())
        await front.route([ip_network("10.96.0.0/16")])
        zone = Zone()
        zone.upsert_service(service("web", "shop", "10.96.0.7"))
        zone.synced = True
        told, _ = await front.serve_names(
            zone, UPLINK, HELLO, "shop", extra_zones=["~lab."], routed=[], work=work, counters=counters, on_alias=never
        )
        search = ("shop.svc.corp.example", "svc.corp.example", "corp.example")
        assert told == DnsStatus("corp.example", "127.0.0.1", "the proxy", search)
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /proxy.pac HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        pac = (await reader.read()).decode()
        writer.close()
        assert 'suffixes = [".svc", ".corp.example", ".lab"], namespaces = ["shop"]' in pac
        assert '["10.96.0.0", "255.255.0.0"]' in pac
        assert (await (await front.names).resolve("web")).is_inside
        assert counters["dns"]()["zone"] == 2
        serving.cancel()
        port = front.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_while_the_link_is_lost_names_of_the_cluster_come_from_the_cache_or_fail_soon() -> None:
    async def lost(_make: object, _host: str, _port: int, *, within_s: float) -> None:
        await asyncio.sleep(within_s)
        raise TimeoutError

    uplink = cast(Any, SimpleNamespace(create_connection=lost))
    async with AsyncExitStack() as undo, asyncio.TaskGroup() as work:
        front = await ProxyFront.prepare(listen_for_proxy(None), undo, lambda _: None)
        zone = Zone()
        zone.upsert_service(service("web", "shop", "10.96.0.7"))
        zone.synced = True
        await front.serve_names(
            zone, uplink, HELLO, "shop", extra_zones=[], routed=[], work=work, counters={}, on_alias=never
        )
        names = await front.names
        assert (await names.resolve("web")).is_inside
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(DialFailure, match="cannot be resolved"):
            await names.resolve("custom.corp.example")
        assert asyncio.get_running_loop().time() - began_s < LINK_WITHIN_S + 0.5


async def test_what_programs_are_told() -> None:
    async with AsyncExitStack() as undo:
        front = await ProxyFront.prepare(listen_for_proxy(None), undo, lambda _: None)
        told = front.proxy_status(ApiEndpoint("api.example", 443))
        assert (told.port, told.pac) == (front.port, f"http://127.0.0.1:{front.port}/proxy.pac")
        assert told.environment["no_proxy"] == "localhost,127.0.0.1,::1,api.example"
        proxied = front.proxy_status(ApiEndpoint("api.example", 443, proxy="http://proxy.example:3128"))
        assert proxied.environment["no_proxy"] == "localhost,127.0.0.1,::1"


async def test_it_begins_with_a_port() -> None:
    with pytest.raises(TypeError):
        await ProxyFront.prepare(cast(Any, object()), AsyncExitStack(), lambda _: None)
