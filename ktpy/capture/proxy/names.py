"""Where a name leads, into the cluster or out of it, in the order in which a resolver with ktpy's search path asks."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ktpy.capture.proxy.destination import Address, DialFailure, Kind
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.lookup import ClusterLookup
from ktpy.dns.resolver import OUTSIDE_WITHIN_S
from ktpy.helper.resolv_conf import NDOTS

OUTSIDE_TTL_S: Final = 30.0
OUTSIDE_KEPT: Final = 1000

AskOutside = Callable[[str], Awaitable[list[Address]]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A Resolved holds the addresses of a name; `is_inside` tells whose name it is."""

    addresses: list[Address]
    is_inside: bool


async def ask_machine(name: str) -> list[Address]:
    """Return what the machine's own resolver says: /etc/hosts, its name servers, whatever it is set up for."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    return [ip_address(str(entry[4][0])) for entry in found]


class Names:
    """Names resolves what clients of the proxy ask for."""

    def __init__(self, cluster: ClusterLookup, outside: AskOutside = ask_machine) -> None:
        self._cluster = cluster
        self._outside = outside
        self._exists_until_s: dict[str, tuple[float, bool]] = {}

    async def resolve(self, name: str) -> Resolved:
        """Return where the name leads. Raises DialFailure where nobody knows it, or nobody can tell."""
        try:
            found = await self._resolve(name.rstrip(".").lower(), is_absolute=name.endswith("."))
        except NoAnswerError as error:
            raise DialFailure(Kind.NO_ANSWER, f"{name} cannot be resolved: {error}.") from error
        if not found.addresses:
            raise DialFailure(Kind.UNKNOWN_NAME, f"There is no {name}, neither in the cluster nor outside.")
        return found

    async def _resolve(self, name: str, *, is_absolute: bool) -> Resolved:
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never asked of anybody else
            return Resolved(await self._outside(name), is_inside=False)
        if self._cluster.is_ours(name):
            return Resolved(await self._cluster.in_full(name), is_inside=True)
        is_short = not is_absolute and name.count(".") < NDOTS
        failure: NoAnswerError | None = None
        if is_short:
            try:
                addresses = await self._cluster.by_search(name)
            except NoAnswerError as error:  # the name may be an outside one, which does not wait for the cluster
                addresses, failure = [], error
            if addresses and not ("." in name and await self._exists_outside(name)):
                return Resolved(addresses, is_inside=True)
        addresses = await self._outside(name)
        if addresses:
            return Resolved(addresses, is_inside=False)
        if failure:
            raise failure
        return Resolved([] if is_absolute or is_short else await self._cluster.by_search(name), is_inside=True)

    async def _exists_outside(self, name: str) -> bool:
        """Return whether a short name with a dot is one of the Internet, too; who is offline waits for this once."""
        now_s = time.monotonic()
        until_s, exists = self._exists_until_s.get(name, (0.0, False))
        if now_s < until_s:
            return exists
        try:
            async with asyncio.timeout(OUTSIDE_WITHIN_S):
                exists = bool(await self._outside(name))
        except TimeoutError:
            exists = False
        if len(self._exists_until_s) >= OUTSIDE_KEPT:
            self._exists_until_s.clear()
        self._exists_until_s[name] = (now_s + OUTSIDE_TTL_S, exists)
        return exists
