"""Ranges of addresses that stand in, on this laptop, for ranges of the cluster's that are a local network's too. Pure.

The two are as large as each other, and an address keeps its place: with 240.0.0.0/12 for 10.96.0.0/12, 240.0.0.10
stands in for 10.96.0.10. Programs see stand-ins only, the cluster its own addresses only.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


class StandIns:
    """StandIns know the stand-in of a packed address and the reverse. An address of no such range is its own."""

    def __init__(self) -> None:
        self._outside, self._inside = _Prefixes(), _Prefixes()
        self.count = 0
        """How many ranges have stand-ins. It only grows."""

    def add(self, network: Network, stand_in: Network) -> None:
        """Let a range, of the same family and size, stand in for one of the cluster's."""
        self._outside.add(network, stand_in)
        self._inside.add(stand_in, network)
        self.count += 1

    def of(self, address: bytes) -> bytes:
        """Return what stands in for an address of the cluster's."""
        return self._outside.swapped(address)

    def real(self, address: bytes) -> bytes:
        """Return the cluster's own address, for one that programs use."""
        return self._inside.swapped(address)

    def real_host(self, host: str) -> str:
        """Do as `real`, for an address as text."""
        return str(ip_address(self.real(ip_address(host).packed))) if self.count else host


class _Prefixes:
    """_Prefixes exchange the leading bits of addresses, at the cost of a look-up for each length of a prefix."""

    def __init__(self) -> None:
        self._by_size: dict[tuple[int, int], dict[int, int]] = {}
        """By the bytes of an address and the bits behind its prefix: the new prefix of each."""

    def add(self, old: Network, new: Network) -> None:
        host_bits = old.max_prefixlen - old.prefixlen
        prefixes = self._by_size.setdefault((old.max_prefixlen // 8, host_bits), {})
        prefixes[int(old.network_address) >> host_bits] = int(new.network_address) >> host_bits

    def swapped(self, address: bytes) -> bytes:
        for (size, host_bits), prefixes in self._by_size.items():
            if size == len(address):
                number = int.from_bytes(address)
                if (prefix := prefixes.get(number >> host_bits)) is not None:
                    return (prefix << host_bits | number & (1 << host_bits) - 1).to_bytes(size)
        return address
