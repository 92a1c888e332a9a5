"""Who may ask the name server: this machine, and the containers behind its bridges."""

import socket
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final

KEPT_FOR_S: Final = 10.0


class LocalClients:
    """LocalClients tells this machine's own addresses, and those of its bridges' subnets, from all others."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._routes = root / "proc/net/route"
        self._links = root / "sys/class/net"
        self._clock = clock
        self._known: dict[str, bool] = {}
        self._known_until_s = 0.0

    def includes(self, address: str) -> bool:
        if (now_s := self._clock()) >= self._known_until_s:
            self._known.clear()
            self._known_until_s = now_s + KEPT_FOR_S
        if (answer := self._known.get(address)) is None:
            answer = self._known[address] = _is_own(address) or self._is_behind_bridge(address)
        return answer

    def _is_behind_bridge(self, text: str) -> bool:
        """Tell whether the route to the address (/proc/net/route, hexadecimal) is into a bridge, without a gateway."""
        address = ip_address(text)
        if not isinstance(address, IPv4Address):
            return False
        try:
            lines = self._routes.read_text().splitlines()[1:]
        except OSError:
            return False
        number = int.from_bytes(address.packed, sys.byteorder)
        found = [(0, False)]
        for line in lines:
            link, destination, gateway, *_, mask = line.split()[:8]
            bits = int(mask, 16)
            if number & bits == int(destination, 16):
                is_bridge = not int(gateway, 16) and (self._links / link / "bridge").exists()
                found.append((bits.bit_count(), is_bridge))
        return max(found)[1]


def _is_own(address: str) -> bool:
    """Tell whether an address is this machine's: only those can be bound."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
