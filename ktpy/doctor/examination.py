"""All checks, side by side, each within its time; what they find comes in a fixed order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import field
from typing import Any, Final

from ktpy.doctor import cluster, laptop, leftovers, network
from ktpy.doctor.admission import admission
from ktpy.doctor.credentials import credentials
from ktpy.doctor.finding import Finding, State, failed
from ktpy.doctor.rights import rights
from ktpy.errors import KtpyError
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.objects import Json

CHECK_TIMEOUT_S: Final = 20.0

logger = logging.getLogger(__name__)

_Found = Finding | Iterable[Finding]

_LAPTOP: Final[Mapping[str, Callable[[], Finding]]] = {
    "connect": laptop.root,
    "run": laptop.namespaces,
    "resolver": laptop.names,
    "containers": network.containers,
    "laptop": leftovers.on_laptop,
}
_CLUSTER: Final[Mapping[str, Callable[[Api], Awaitable[_Found]]]] = {
    "namespace": cluster.namespace,
    "quota": cluster.quota,
    "policies": cluster.policies,
    "ranges": network.ranges,
    "MTU": network.packet_size,
    "leftovers": leftovers.in_cluster,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to work."""

    image: str
    pod_overlay: Mapping[str, Any] = field(default_factory=dict)
    uses: Collection[str] = ()
    """Whose rights have to be there."""
    try_pod: Callable[[Api], Awaitable[_Found]] | None = None
    """Starts a real pod. It has limits of time of its own."""


async def examine(
    load: Callable[[], Awaitable[Api]], user: Callable[[], Json], wanted: Wanted
) -> AsyncIterator[Finding]:
    """Yield what is found, of this laptop first. `load` makes the client; `user` reads the kubeconfig's section."""
    of_laptop = _begin({subject: asyncio.to_thread(check) for subject, check in _LAPTOP.items()})
    api: Api | None = None
    try:
        api = await load()
        target = api.target
        seen = f"Context {target.context}, user {target.user or '-'}, namespace {target.namespace}."
        kubeconfig = Finding("kubeconfig", State.OK, seen)
    except KtpyError as error:
        kubeconfig = failed("kubeconfig", error)
    try:
        async for one in _in_order(of_laptop):
            yield one
        yield kubeconfig
        if api is None:
            yield cluster.unreached("there is no cluster to ask")
            return
        async for one in _of_cluster(api, user, wanted):
            yield one
    finally:
        if api is not None:
            await api.close()


async def _of_cluster(api: Api, user: Callable[[], Json], wanted: Wanted) -> AsyncIterator[Finding]:
    for one in await _look("credentials", asyncio.to_thread(lambda: credentials(user()))):
        yield one
    server = await _look("API server", cluster.server(api))
    for one in server:
        yield one
    if server[0].state is not State.OK:
        yield cluster.unreached("the API server was not reached")
        return
    for one in await _look("round trip", network.round_trip(api)):  # while nothing else is asked
        yield one
    checks: dict[str, Awaitable[_Found]] = {
        "rights": rights(api, wanted.uses),
        "admission": admission(api, wanted.image, wanted.pod_overlay),
        **{subject: check(api) for subject, check in _CLUSTER.items()},
    }
    async for one in _in_order(_begin(checks)):
        yield one
    if wanted.try_pod is None:
        yield cluster.image(wanted.image)
        return
    for one in await _look("pod", wanted.try_pod(api), timeout_s=None):
        yield one


def _begin(checks: Mapping[str, Awaitable[_Found]]) -> "list[asyncio.Task[list[Finding]]]":
    return [asyncio.create_task(_look(subject, check), name=subject) for subject, check in checks.items()]


async def _in_order(looks: "Iterable[asyncio.Task[list[Finding]]]") -> AsyncIterator[Finding]:
    for look in looks:
        for one in await look:
            yield one


async def _look(subject: str, check: Awaitable[_Found], *, timeout_s: float | None = CHECK_TIMEOUT_S) -> list[Finding]:
    try:
        async with asyncio.timeout(timeout_s):
            found = await check
    except TimeoutError:
        return [Finding(subject, State.NOT_MADE, f"It took longer than {CHECK_TIMEOUT_S:g} s.")]
    except KtpyError as error:
        return [failed(subject, error)]
    except Exception as error:  # no check hides the others
        logger.debug("a check broke", exc_info=error)
        return [Finding(subject, State.NOT_MADE, f"The check broke: {error!r}. -vv shows where.")]
    return [found] if isinstance(found, Finding) else list(found)
