"""What the front of mode `tun` derives from what the helper saw."""

import asyncio
import os
from contextlib import AsyncExitStack
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from ktpy.capture.tun import front as fronts
from ktpy.capture.tun.front import TunFront, dns_numbers
from ktpy.cluster.routing.networks import Network
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.stream import StreamClient
from ktpy.dns.upstream import Upstream
from ktpy.dns.zone import Zone
from ktpy.errors import HelperFailed
from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.protocol import Hello, LocalNetwork, Resolver, Undone
from ktpy.observe.events import Event, Notice
from ktpy.wire.session import AgentHello


def test_the_machines_name_servers_as_ranges() -> None:
    nameservers = ("192.0.2.53", "2001:db8::53", "fe80::1%eth0", "not-an-address")
    resolver = Resolver(kind="resolv.conf", form="file", nameservers=nameservers, search=(), options=())
    laptop = TunFront(cast(Any, None), cast(Any, None), (), resolver, cast(Any, None), lambda _: None)
    assert laptop.name_servers == [ip_network("192.0.2.53"), ip_network("2001:db8::53"), ip_network("fe80::1")]


async def test_what_the_helper_remarks_on_the_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    opened = SimpleNamespace(interface_index=7)
    tun = Tun(cast(Any, opened), os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY))
    helper = AsyncMock(hello=Hello(1, 1000, "/home/al belongs to al."))
    helper.recover.return_value, helper.open_tun.return_value, helper.close.return_value = (
        (),
        tun,
        Undone("", (), (), ()),
    )
    monkeypatch.setattr(HelperClient, "start", AsyncMock(return_value=helper))
    async with AsyncExitStack() as undo:
        await TunFront.prepare(cast(Any, None), undo, events.append)
    assert events == [Notice("/home/al belongs to al.")]
    for descriptor in (tun.descriptor, tun.flow_map):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(cast(int, descriptor))


async def test_after_an_outage_vanished_routes_and_new_overlaps_are_told() -> None:
    home = LocalNetwork(ip_network("10.96.7.0/24"), "eth0")
    now = [home]
    vanished: list[Network] = []

    async def restore_routes() -> list[Network]:
        return vanished

    async def local_networks() -> list[LocalNetwork]:
        return now

    helper: Any = SimpleNamespace(restore_routes=restore_routes, local_networks=local_networks)
    tun: Any = SimpleNamespace(opened=SimpleNamespace(name="ktpy0"))
    machine = TunFront(helper, tun, (home,), cast(Any, None), cast(Any, None), lambda _: None)
    services = RoutedRange(ip_network("10.96.0.0/12"), "services", "ServiceCIDR")
    assert await machine.put_right([services], []) == []
    vanished.append(services.network)
    now += [LocalNetwork(ip_network("10.97.0.0/16"), "vpn0"), LocalNetwork(ip_network("10.0.0.0/8"), "wlan0")]
    restored, overlap, lost = await machine.put_right([services], [])
    assert restored == "Routes into ktpy0 had vanished, and are back: 10.96.0.0/12."
    assert "overlaps 10.0.0.0/8 on wlan0. It stays routed into the cluster." in overlap
    assert lost == (
        "10.97.0.0/16, a part of the cluster's 10.96.0.0/12, leads to vpn0 since its route was added: the narrower one"
        " counts."
    )


async def test_the_numbers_of_the_name_server() -> None:
    upstream, cluster = Forwarder(cast(Any, None)), Forwarder(cast(Any, None))
    cluster.cache_hits, upstream.exchanges = 2, 3
    resolver = SplitResolver(Zone(), upstream=upstream, cluster=cluster)
    resolver.counters.zone = 7
    server = Server(resolver, [], [])
    server.overloaded = 1
    told = dns_numbers(resolver, server, upstream=upstream, cluster=cluster)
    assert {name: number for name, number in told.items() if number} == {
        "zone": 7,
        "overloaded": 1,
        "cluster_cache_hits": 2,
        "upstream_exchanges": 3,
    }


async def test_the_name_servers_upstreams_are_closed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[type] = []
    asked_for: list[str] = []
    serving = asyncio.Event()

    async def serve() -> None:
        serving.set()
        await asyncio.get_running_loop().create_future()

    async def bind_dns(addresses: list[Any]) -> Any:
        asked_for.extend(map(str, addresses))
        if len(asked_for) > 1:
            raise HelperFailed("Port 53 on 198.18.0.1 cannot be bound.")  # no reason to end: containers do without
        return [SimpleNamespace(udp=None, tcp=None)]

    async def set_resolver(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(Upstream, "close", lambda _: closed.append(Upstream))
    monkeypatch.setattr(StreamClient, "close", lambda _: closed.append(StreamClient))
    monkeypatch.setattr(fronts, "Server", lambda *_, **__: SimpleNamespace(serve=serve))
    helper: Any = SimpleNamespace(bind_dns=bind_dns, set_resolver=set_resolver, detect_resolver=None)
    tun: Any = SimpleNamespace(opened=SimpleNamespace(number=0, address4=ip_interface("198.18.0.1/30")))
    resolver = Resolver(kind="resolv.conf", form="file", nameservers=("192.0.2.53",), search=(), options=())
    hello = AgentHello("0", ("10.96.0.10",), ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"))
    uplink: Any = SimpleNamespace(create_connection=lambda: None)

    async def until_served() -> None:
        async with asyncio.TaskGroup() as work:
            machine = TunFront(helper, tun, (), resolver, cast(Any, None), lambda _: None)
            await machine.serve_names(
                Zone(),
                uplink,
                hello,
                "shop",
                extra_zones=(),
                routed=(),
                work=work,
                counters={},
                on_alias=AsyncMock(),
            )

    session = asyncio.create_task(until_served())
    async with asyncio.timeout(5):
        await serving.wait()
    session.cancel()
    await asyncio.wait({session})
    assert closed == [Upstream, StreamClient]
    assert asked_for == ["127.18.0.53", "198.18.0.1"]
