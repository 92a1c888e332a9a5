import asyncio
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.doctor import network
from ktpy.doctor.finding import Finding, State
from ktpy.errors import ApiUnreachable
from ktpy.helper.protocol import LocalNetwork
from ktpy.kube.client import Api
from tests.unit.kube.api_stub import Answer, ApiStub, refused


def local(text: str, interface: str) -> LocalNetwork:
    return LocalNetwork(ip_network(text), interface)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[LocalNetwork]:
    """The networks of a laptop with a VPN, to be changed, and a cluster's."""
    for name, kind in (("eth0", "1"), ("corp", "65534")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
    found = [local("192.0.2.0/24", "eth0"), local("10.8.0.0/16", "corp"), local("10.96.0.0/12", "ktpy0")]

    async def discover(_: Api) -> list[RoutedRange]:
        return [RoutedRange(ip_network("10.96.0.0/12"), "services", "the ServiceCIDR API")]

    monkeypatch.setattr(network, "LINKS", tmp_path)
    monkeypatch.setattr(network, "discover", discover)
    monkeypatch.setattr(network, "local_networks", lambda: found)
    return found


async def test_a_range_that_a_vpn_has_too_is_told_with_the_vpn(links: list[LocalNetwork], api: Api) -> None:
    fine = await network.ranges(api)
    assert (fine.state, fine.seen) == (
        State.OK,
        "No network here overlaps the cluster's (10.96.0.0/12). VPNs: corp.",
    )
    links.append(local("10.100.0.0/16", "corp"))
    found = await network.ranges(api)
    assert found.state is State.WARNING
    assert "overlaps 10.100.0.0/16 on corp. VPNs: corp." in found.seen
    assert found.mend is not None
    assert "--exclude 10.100.0.0/16, or take it into the cluster with --include 10.100.0.0/16." in found.mend


async def test_ranges_that_cannot_be_seen_are_not_said_to_be_well(
    links: list[LocalNetwork], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Api) -> list[RoutedRange]:
        return []

    monkeypatch.setattr(network, "discover", nothing)
    found = await network.ranges(api)
    assert found.state is State.NOT_MADE
    assert found.seen.endswith("VPNs: corp.")


async def test_the_round_trip_is_the_median(stub: ApiStub, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.script("GET /version", Answer({}))
    at_s = iter((0, 0.01, 1, 1.02, 2, 2.9, 3, 3.01, 4, 4.02, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5))
    monkeypatch.setattr(network, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(at_s))}))
    near, far = await network.round_trip(api), await network.round_trip(api)
    assert near.seen == "The API server answers in 20.0 ms (median of 5; the slowest 900.0 ms)."
    assert (near.state, far.state, len(stub.asked)) == (State.OK, State.WARNING, 10)


async def test_full_packets_arrive_or_not(stub: ApiStub, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    mtu_bytes = 1420

    async def addresses() -> list[Any]:
        return [ip_address("192.0.2.1")]

    monkeypatch.setattr(api, "addresses", addresses)
    monkeypatch.setattr(network, "way_to", lambda _: ("corp", mtu_bytes))
    stub.script("GET /version", Answer({}), Answer({}), Answer(refused(414, "It is too long."), 414))
    way = "The way to the API server is corp, which carries packets of up to"
    fine = await network.packet_size(api)
    assert (fine.state, fine.seen) == (State.OK, f"{way} 1420 bytes; full ones arrive.")
    mtu_bytes = 1200
    small = await network.packet_size(api)
    assert (small.state, small.seen) == (State.WARNING, f"{way} 1200 bytes, fewer than IPv6 needs (1280).")
    assert (await network.packet_size(api)).state is State.NOT_MADE

    async def lost(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        raise ApiUnreachable("It does not answer.")

    monkeypatch.setattr(api, "request", lost)
    hole = await network.packet_size(api)
    assert (hole.state, hole.mend and hole.mend.rpartition(": ")[2]) == (
        State.WARNING,
        "sudo ip link set corp mtu 1280",
    )


def test_containers(links: list[LocalNetwork], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "IPV4", tmp_path)
    monkeypatch.setattr(network, "DOCKER_CONFIG", tmp_path / "daemon.json")
    assert network.containers().seen == "Neither Docker nor Podman has a network here."
    links += [local("172.17.0.0/16", "docker0"), local("10.88.0.0/16", "podman0")]
    unread = network.containers()
    assert (unread.state, "ip_forward cannot be read" in unread.seen) == (State.NOT_MADE, True)
    (tmp_path / "ip_forward").write_text("1\n")
    for bridge, forwards in (("docker0", "1\n"), ("podman0", "0\n")):
        (tmp_path / "conf" / bridge).mkdir(parents=True)
        (tmp_path / "conf" / bridge / "forwarding").write_text(forwards)
    off = network.containers()
    assert (off.state, off.mend) == (State.WARNING, "sudo sysctl -w net.ipv4.ip_forward=1")
    assert off.seen.startswith("Containers on podman0 reach nothing")
    (tmp_path / "conf/podman0/forwarding").write_text("1\n")
    assert told(network.containers()) == [("docker", "198.18.0.1"), ("podman", "198.18.0.1")]
    links.append(local("198.18.3.0/30", "ktpy3"))
    assert told(network.containers()) == [("docker", "198.18.3.1"), ("podman", "198.18.3.1")]
    for config in ("not JSON", "[]", '{"dns": null}', '{"dns": []}', '{"dns": ["192.0.2.53", "198.18.3.1"]}'):
        (tmp_path / "daemon.json").write_text(config)
        assert len(told(network.containers())) == 2
    (tmp_path / "daemon.json").write_text('{"dns": ["198.18.3.1", "192.0.2.53"]}')
    assert told(network.containers()) == [("podman", "198.18.3.1")]


def told(found: Finding) -> list[tuple[str, str]]:
    """The engines, and what their containers are to ask."""
    assert found.state is State.OK
    return re.findall(r"^(\w+) run --dns (\S+) ", found.seen, re.MULTILINE)
