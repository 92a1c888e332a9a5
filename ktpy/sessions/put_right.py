"""After an outage: what others have taken away of the routes is put back. They do when a laptop changes its network."""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ktpy.capture.spec import Front
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.errors import KtpyError
from ktpy.observe.events import Notice, Report
from ktpy.observe.status import RangeStatus
from ktpy.sessions.outages import Outages

if TYPE_CHECKING:
    from ktpy.cluster.routing.networks import Network


async def put_right(
    machine: Front,
    outages: Outages,
    routed: Callable[[], Sequence[RangeStatus]],
    allowed: "Sequence[Network]",
    report: Report,
) -> None:
    """See to the routes after each outage, for ever. What was said after the one before is not repeated."""
    told: list[str] = []
    while True:
        await outages.wait_back()
        ranges = [RoutedRange(ip_network(one.network), one.kind, one.source) for one in routed()]
        before = told
        try:
            told = await machine.put_right(ranges, allowed)
        except KtpyError as error:
            told = [error.message]
        for sentence in told:
            if sentence not in before:
                report(Notice(sentence))
