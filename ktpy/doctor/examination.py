"""All checks, side by side, each within its time; what they find comes in a fixed order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final

from ktpy.doctor import cluster, laptop, leftovers, network
from ktpy.doctor.admission import admission
from ktpy.doctor.credentials import credentials
from ktpy.doctor.finding import Finding, State, failed
from ktpy.doctor.rights import rights
from ktpy.errors import KtpyError
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
    "round trip": network.round_trip,
    "MTU": network.packet_size,
    "leftovers": leftovers.in_cluster,
}


async def examine(
    load: Callable[[], Awaitable[Api]], user: Callable[[], Json], wanted: Collection[str], image: str
) -> AsyncIterator[Finding]:
    """Yield what is found, of this laptop first. `load` makes the client; `wanted` are the uses that have to work.

    `user` reads the user's section of the kubeconfig.
    """
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
        for one in await _look("credentials", asyncio.to_thread(lambda: credentials(user()))):
            yield one
        server = await _look("API server", cluster.server(api))
        for one in server:
            yield one
        if server[0].state is not State.OK:
            yield cluster.unreached("the API server was not reached")
            return
        checks: dict[str, Awaitable[_Found]] = {subject: check(api) for subject, check in _CLUSTER.items()}
        checks = {"rights": rights(api, wanted), "admission": admission(api, image), **checks}
        async for one in _in_order(_begin(checks)):
            yield one
        yield cluster.image(image)
    finally:
        if api is not None:
            await api.close()


def _begin(checks: Mapping[str, Awaitable[_Found]]) -> "list[asyncio.Task[list[Finding]]]":
    return [asyncio.create_task(_look(subject, check), name=subject) for subject, check in checks.items()]


async def _in_order(looks: "Iterable[asyncio.Task[list[Finding]]]") -> AsyncIterator[Finding]:
    for look in looks:
        for one in await look:
            yield one


async def _look(subject: str, check: Awaitable[_Found]) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await check
    except TimeoutError:
        return [Finding(subject, State.NOT_MADE, f"It took longer than {CHECK_TIMEOUT_S:g} s.")]
    except KtpyError as error:
        return [failed(subject, error)]
    except Exception as error:  # no check hides the others
        logger.debug("a check broke", exc_info=error)
        return [Finding(subject, State.NOT_MADE, f"The check broke: {error!r}. -vv shows where.")]
    return [found] if isinstance(found, Finding) else list(found)
