"""Where a program's connections lead: the cluster, the laptop's loopback, or the laptop's own network."""

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from ktpy.capture.namespace.exits import HOST, Exits


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("10.96.0.1", 443, [("pod", "10.96.0.1", 443)]),
        ("fd96::1", 443, [("pod", "fd96::1", 443)]),
        ("10.97.0.1", 443, [("laptop", "10.97.0.1", 443)]),
        ("2001:db8::1", 443, [("laptop", "2001:db8::1", 443)]),
        (str(HOST), 5432, [("laptop", "127.0.0.1", 5432)]),
    ],
)
async def test_the_address_decides(
    host: str, port: int, expected: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, str, int]] = []

    async def from_here(_make: object, host: str, port: int) -> Any:
        found.append(("laptop", host, port))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", from_here)

    async def from_pod(_make: object, host: str, port: int) -> Any:
        found.append(("pod", host, port))

    exits = Exits(from_pod, [ip_network("10.96.0.0/16"), ip_network("fd96::/108")])
    await exits.dial(asyncio.Protocol, host, port)
    assert found == expected
