"""What `connect` routes while it stands, and what it leaves alone."""

import asyncio
from ipaddress import ip_address, ip_network

from ktpy.daemon import control_client
from ktpy.errors import HelperFailed, RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.observe.events import Notice
from ktpy.observe.status import ConnectStatus
from ktpy.sessions.options import ConnectOptions
from tests.kit.waiting import until
from tests.unit.sessions.connect_world import HOME, LOCAL, NEW, World, world

__all__ = ["world"]


async def test_where_an_alias_leads_is_routed_before_that_is_answered_unless_it_is_public(world: World) -> None:
    async with world.session():
        await world.ready
        await world.connect._routing.route_alias([ip_address("10.9.8.7"), ip_address("8.8.8.8")])
        assert world.steps[-1] == "route 10.9.8.7/32"


async def test_new_ranges_are_routed_unless_they_are_local_too(world: World) -> None:
    async with world.session():
        await world.ready
        world.newcomers.put_nowait([LOCAL])
        world.newcomers.put_nowait([NEW])
        await until(lambda: "route 10.9.0.0/24" in world.steps)
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
    assert world.events[-2] == Notice(
        "A range of the cluster is a local network too: 192.168.7.0/24 (pods, from pod) overlaps 192.168.7.0/24 on"
        " eth0. It is not routed."
    )
    assert isinstance(status, ConnectStatus)
    assert [entry.network for entry in status.ranges] == ["10.96.0.0/12", "10.9.0.0/24"]


async def test_a_new_range_that_the_helper_refuses_ends_no_session(world: World) -> None:
    world.failures["route 10.9.0.0/24"] = HelperFailed("There is a route to 10.9.0.0/24 already.")
    async with world.session() as running:
        await world.ready
        world.newcomers.put_nowait([NEW])
        await until(lambda: world.events[-1] == Notice("There is a route to 10.9.0.0/24 already. It is not routed."))
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
        assert not running.done()
    assert isinstance(status, ConnectStatus)
    assert [entry.network for entry in status.ranges] == ["10.96.0.0/12"]


async def test_what_is_routed_is_no_way_past_the_api_server(world: World) -> None:
    async with world.session():
        await world.ready
        routing = world.connect._routing
        assert await routing.network_of("10.96.0.7") == "10.96.0.0/12"
        assert [await routing.network_of(host) for host in ("192.0.2.7", "fd00::7", "ssh.example.com")] == [None] * 3


async def test_what_a_local_network_has_too_is_reached_by_other_addresses_where_that_is_wanted(world: World) -> None:
    world.local_networks = [HOME, LocalNetwork(ip_network("10.100.0.0/16"), "vpn0")]
    world.name_servers = [ip_network("10.100.0.53")]
    async with world.session(ConnectOptions(on_overlap="translate")):
        await world.ready
        assert "route 240.0.0.0/12" in world.steps  # whole, though a name server of the laptop's lies in it
        [told] = [one.text for one in world.events if isinstance(one, Notice)]
        assert "10.96.0.0/12 as 240.0.0.0/12" in told
        world.newcomers.put_nowait([LOCAL])
        world.newcomers.put_nowait([NEW])
        await until(lambda: "route 10.9.0.0/24" in world.steps)
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
        routing = world.connect._routing
        assert [await routing.network_of(host) for host in ("10.96.0.7", "240.0.0.7")] == [None, "240.0.0.0/12"]
        assert world.connect._zone is not None
        assert world.connect._zone.stand_ins.count == 2
    assert isinstance(status, ConnectStatus)
    assert [(entry.network, entry.stand_in) for entry in status.ranges] == [
        ("10.96.0.0/12", "240.0.0.0/12"),
        ("192.168.7.0/24", "240.16.0.0/24"),
        ("10.9.0.0/24", None),
    ]


async def test_there_may_be_no_room_for_stand_ins(world: World) -> None:
    world.local_networks = [LocalNetwork(ip_network("10.100.0.0/16"), "vpn0")]
    options = ConnectOptions(on_overlap="translate", translate_to=(ip_network("198.19.0.0/16"),))
    async with world.session(options) as running:
        ended = await running
    assert (ended.exit_code, "--translate-to" in str(ended.hint)) == (RangeOverlap.exit_code, True)
    assert not any(step.startswith("route ") for step in world.steps)
