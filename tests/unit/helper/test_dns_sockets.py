import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed
from ktpy.helper import dns_sockets
from tests.kit.ports import free_port

LOOPBACK = IPv4Address("127.0.0.1")


@pytest.mark.parametrize("address", [LOOPBACK, ip_address("::1")])
def test_both_are_bound_and_neither_blocks_or_listens(
    monkeypatch: pytest.MonkeyPatch, address: IPv4Address | IPv6Address
) -> None:
    monkeypatch.setattr(dns_sockets, "DNS_PORT", free_port())
    udp, tcp = dns_sockets.bind(address)
    with udp, tcp:
        assert (udp.type, tcp.type) == (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        assert udp.getsockname()[:2] == tcp.getsockname()[:2] == (str(address), dns_sockets.DNS_PORT)
        assert not udp.getblocking()
        assert not tcp.getblocking()
        assert not tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_a_port_that_is_taken_is_named_and_leaves_nothing_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.bind((str(LOOPBACK), 0))
        holder.listen()
        monkeypatch.setattr(dns_sockets, "DNS_PORT", holder.getsockname()[1])
        before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(HelperFailed, match=r"on 127\.0\.0\.1 cannot be bound: Address already in use") as raised:
            dns_sockets.bind(LOOPBACK)
        assert set(Path("/proc/self/fd").iterdir()) == before
    assert f"sport = :{dns_sockets.DNS_PORT}" in (raised.value.hint or "")
