"""The ways of `connect` to whatever shadow pod there is, again and again: the uplink, and the datagrams' own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ktpy.aio.wakes import wakes
from ktpy.errors import KtpyError, LinkLost, LinkSilent
from ktpy.kube.client import Api
from ktpy.kube.portforward.connection import BATCH_BYTES
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.portforward.turns import Turns
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Notice, Report
from ktpy.sessions.options import Via
from ktpy.sessions.outages import Outages
from ktpy.sessions.routing import Routing
from ktpy.sessions.shadows import Shadows, printed_host_key
from ktpy.wire.pod import SESSION_SILENCE_S, SSHD_PORT

if TYPE_CHECKING:
    from ktpy.link.connection import AgentConnection
    from ktpy.link.datagrams import DatagramLink
    from ktpy.link.direct import DirectWay
    from ktpy.link.keeper import Keeper
    from ktpy.link.key import ClientKey
    from ktpy.link.uplink import AgentPod, Uplink
    from ktpy.wire.session import AgentHello

NO_KEEPING = (
    "Open connections will end with the link, as without --keep: the pod's relay of connections cannot be used ({}). "
    "Use the image of this version of ktpy, see --image."
)


def shadow_uplink(
    api: Api,
    shadows: Shadows,
    outages: Outages,
    key: "ClientKey",
    *,
    pod_timeout_s: float,
    comes_back: Callable[[], bool],
    keeper: "Keeper | None" = None,
    direct: "DirectWay | None" = None,
    ssh_only: bool = False,
    turns: Turns | None = None,
) -> "Uplink[AgentHello]":
    """Return the uplink, to be run. `comes_back` tells whether a lost link is no end; `keeper` is told of each, and
    without one connections take the `direct` way while there is one. Bulk leaves SSH unless `ssh_only`. `turns`
    are those of `datagram_link`."""
    from ktpy.link.dial_policy import DialAgain, DialUntilUp
    from ktpy.link.session import SHADOW_SESSION
    from ktpy.link.uplink import Uplink

    async def take_loss(reason: LinkLost) -> None:
        outages.lost(reason)
        if isinstance(reason, LinkSilent):
            await api.drop_connections()

    async def take_failure(error: KtpyError) -> None:
        outages.failed(error)
        await shadows.doubt(error)

    async def hold(connection: "AgentConnection[AgentHello]") -> LinkLost | None:
        shadows.stands()
        outages.stands(str(shadows.pod))
        api.note_answer()
        return await (keeper.hold(connection) if keeper is not None else connection.wait_closed())

    policy = DialAgain(DialUntilUp(pod_timeout_s), comes_back, take_loss, take_failure)
    find_pod = _finder(api, shadows, comes_back, turns, direct, ssh_only=ssh_only)
    return Uplink(find_pod, key, SHADOW_SESSION, policy, hold=hold, may_widen=keeper is None)


def connection_keeper(keep_s: float, report: Report, counters: CounterReaders) -> "Keeper | None":
    """Return what connections that outlive their link are dialled over; None where they wait for none."""
    if not keep_s:
        return None
    from ktpy.link.keeper import Keeper

    keeper = Keeper(keep_s, lambda why: report(Notice(NO_KEEPING.format(why))))
    counters["kept"] = lambda: numbers(keeper.counters)
    return keeper


async def notice_sleep(uplink: "Uplink[AgentHello] | DatagramLink") -> None:
    """Give up a link whose other end has done so already: the agent hears nothing of a laptop that sleeps."""
    async for slept_s in wakes(SESSION_SILENCE_S):
        uplink.lose(LinkSilent(f"The laptop slept for {slept_s:.0f} s."))


def datagram_link(api: Api, shadows: Shadows, outages: Outages, key: "ClientKey", turns: Turns) -> "DatagramLink":
    """Return the link for datagrams, to be run. No failure of it is an end but another host key."""
    from ktpy.link.datagrams import DatagramLink

    find_pod = _finder(api, shadows, lambda: True, turns, batch_bytes=0)
    return DatagramLink(find_pod, key, outages.datagrams_failed, turns.shorten)


def direct_way(
    via: Via, shadows: Shadows, routing: Routing, step: Callable[[str, str], None], report: Report
) -> "DirectWay":
    """Return the way past the API server that the user wants, or allows."""
    from ktpy.link.direct import DirectWay

    async def places() -> AsyncIterator[tuple[str, int]]:
        shadow, _ = await shadows.find()
        if via.host:
            yield via.host, via.port
            return
        if via.is_auto:
            yield await shadow.own_address()
        yield await shadow.node_address()

    async def find() -> AsyncIterator[tuple[str, int]]:
        async for host, port in places():
            if (network := await routing.network_of(host)) is None:
                yield host, port
            elif not via.is_auto:
                raise LinkLost(f"{host} lies in {network}, which ktpy routes to the pod itself.")

    return DirectWay(find, partial(step, "via"), lambda sentence: report(Notice(sentence)), is_optional=via.is_auto)


def _finder(
    api: Api,
    shadows: Shadows,
    comes_back: Callable[[], bool],
    turns: Turns | None,
    direct: "DirectWay | None" = None,
    *,
    ssh_only: bool = True,
    batch_bytes: int = BATCH_BYTES,
) -> "Callable[[], Awaitable[AgentPod | None]]":
    from ktpy.link.uplink import AgentPod

    async def find_pod() -> AgentPod:
        shadow, pod = await shadows.find()
        is_patient = comes_back()  # not with the first one: a right that is missing from the start is an error
        forward = partial(PortForward, api, api.namespace, pod, turns=turns, batch_bytes=batch_bytes)
        return AgentPod(
            pod,
            forward(SSHD_PORT),
            lambda: printed_host_key(shadow, is_patient=is_patient),
            "The SSH host key is not the one the pod printed, so somebody is between; ktpy ended the session.",
            direct=direct,
            beside=None if ssh_only else partial(forward, is_for_bulk=True),
        )

    return find_pod
