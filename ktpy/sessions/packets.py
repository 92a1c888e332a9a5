"""Packets of a session that has a TUN: what it answers to `ktpy capture`."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from ktpy.capture.spec import Carrier
from ktpy.dns.records import RRType, ZoneAnswer
from ktpy.dns.system import search_path
from ktpy.errors import KtpyError, NotConnected
from ktpy.packet.packet_filter import FilterError, parse_filter

if TYPE_CHECKING:
    from ktpy.dns.zone import Zone

AT_A_TIME: Final = 64


async def told_packets(
    carrier: Carrier | None, zone: "Zone | None", namespace: str, request: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the packets that match the `filter` of a request, and the names of addresses before they first occur.

    `snapshot_bytes` of a request is how much of each packet is told. Raises NotConnected where there is no TUN, or not
    yet, and KtpyError for a filter that is none.
    """
    from ktpy.capture.tun.pump import Pump

    if not isinstance(carrier, Pump) or zone is None:
        raise NotConnected("The session has no packets: it is not ready yet, or its programs come to a port of ktpy's.")
    try:
        matches = parse_filter(request["filter"], lambda name: list(_addresses(zone, namespace, name)))
    except FilterError as error:
        raise KtpyError(str(error), hint="`ktpy capture --help` shows what a filter may be.") from error
    named: set[IPv4Address | IPv6Address] = set()
    with carrier.tapped(matches, request["snapshot_bytes"]) as tap:
        yield {"packets": [], "names": {}, "dropped": 0}
        while True:
            taken = await tap.take(AT_A_TIME)
            new = {end for one in taken for end in one.ends} - named
            named |= new
            yield {
                "packets": [(one.at_s, one.is_sent, one.length, b64encode(one.data).decode()) for one in taken],
                "names": {str(end): names[0] for end in new if (names := zone.names_at(end.packed))},
                "dropped": tap.dropped,
            }


def _addresses(zone: "Zone", namespace: str, name: str) -> Iterable[IPv4Address | IPv6Address]:
    """Find a name as programs do, as far as ktpy itself knows it."""
    for full in (*(f"{name}.{domain}" for domain in search_path(zone.cluster_domain, namespace)), name):
        for kind in (RRType.A, RRType.AAAA):
            if isinstance(answer := zone.lookup(full, kind), ZoneAnswer):
                yield from (
                    ip_address(one.data) for one in answer.answers if one.rtype == kind and isinstance(one.data, bytes)
                )
