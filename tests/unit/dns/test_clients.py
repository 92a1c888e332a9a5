import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ktpy.dns.clients import KEPT_FOR_S, LocalClients


def hexadecimal(address: str) -> str:
    return f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A laptop at 192.0.2.2 with a bridge of containers; 203.0.113.0/24 is behind one of them."""
    rows = [
        ("eth0", "0.0.0.0", "192.0.2.1", "0.0.0.0"),
        ("eth0", "192.0.2.0", "0.0.0.0", "255.255.255.0"),
        ("docker0", "172.17.0.0", "0.0.0.0", "255.255.0.0"),
        ("docker0", "203.0.113.0", "172.17.0.9", "255.255.255.0"),
        ("eth0", "172.17.9.0", "0.0.0.0", "255.255.255.0"),
    ]
    lines = [
        "\t".join((link, hexadecimal(network), hexadecimal(gateway), "0001", "0", "0", "0", hexadecimal(mask), "0"))
        for link, network, gateway, mask in rows
    ]
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text("\n".join(["Iface\tDestination", *lines, ""]))
    (tmp_path / "sys/class/net/docker0/bridge").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("address", "is_client"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("172.17.0.5", True),  # a container
        ("192.0.2.7", False),  # a neighbour
        ("203.0.113.1", False),  # behind a router on the bridge
        ("172.17.9.1", False),  # a longer prefix that leads elsewhere
        ("198.51.100.1", False),  # by the default route
        ("2001:db8::7", False),
    ],
)
def test_this_machine_and_its_containers_are_clients(root: Path, address: str, is_client: bool) -> None:
    assert LocalClients(root).includes(address) == is_client


def test_without_a_table_of_routes_only_this_machine_is(tmp_path: Path) -> None:
    clients = LocalClients(tmp_path)
    assert clients.includes("127.0.0.1")
    assert not clients.includes("172.17.0.5")


def test_an_answer_is_kept_for_a_while(root: Path) -> None:
    now_s = 100.0
    clients = LocalClients(root, lambda: now_s)
    assert clients.includes("172.17.0.5")
    (root / "sys/class/net/docker0/bridge").rmdir()
    assert clients.includes("172.17.0.5")
    now_s += KEPT_FOR_S
    assert not clients.includes("172.17.0.5")
