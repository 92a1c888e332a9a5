"""The link to the agent in a dev container."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ktpy.aio.retry import Backoff
from ktpy.capture.spec import LOOPBACK
from ktpy.cluster.changes.dev_manifest import ssh_port
from ktpy.cluster.pods.pod_log import host_key
from ktpy.errors import KtpyError, LinkLost, PodNotReady
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, is_being_deleted, name_of, status_of
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import PODS
from ktpy.link.held_program import HeldProgram
from ktpy.link.key import ClientKey
from ktpy.observe.events import Notice, Report
from ktpy.wire.dev import Exec
from ktpy.wire.held import PATIENCE_S

if TYPE_CHECKING:
    from ktpy.link.connection import AgentConnection
    from ktpy.link.keeper import Keeper
    from ktpy.link.uplink import AgentPod, Uplink
    from ktpy.wire.session import AgentHello

P = TypeVar("P", bound=asyncio.Protocol)

RETRY_S: Final = (0.05, 0.2)
AGAIN_S: Final = (0.2, 1.0)
"""The pauses between attempts, at first and at most; after a lost link, the latter."""
TIMEOUT_S: Final = 30.0
"""How long a dev container that runs may take to accept a session."""
NO_KEEPING: Final = (
    "Connections to forwarded ports will end with the link: the container's relay of connections cannot be used ({}). "
    "Use the image of this version of ktpy, see --agent-image."
)


def held_program(asked: Exec, report: Report, *, outlives_run: bool = False) -> HeldProgram:
    """Return the program that is asked for, with a key that no other has. See HeldProgram."""
    key = secrets.token_hex(8)
    return HeldProgram(asked._replace(key=key), lambda text: report(Notice(text)), outlives_run=outlives_run)


def connection_keeper(report: Report) -> "Keeper":
    """Return what connections to forwarded ports are dialled over, which go on over the next link."""
    from ktpy.link.keeper import Keeper

    return Keeper(PATIENCE_S, lambda why: report(Notice(NO_KEEPING.format(why))))


async def dial(
    uplink: "Uplink[AgentHello] | Keeper", make: Callable[[], P], port: int
) -> "tuple[asyncio.Transport, P]":
    """Connect to a port of the container's loopback, IPv4 or IPv6, as `Uplink.create_connection` does."""
    try:
        return await uplink.create_connection(make, LOOPBACK, port)
    except ConnectionRefusedError:
        return await uplink.create_connection(make, "::1", port)


async def until_closed(connection: "AgentConnection[AgentHello]") -> LinkLost | None:
    """Hold a connection with which nothing else is done."""
    return await connection.wait_closed()


def dev_uplink(
    api: Api,
    find_pod: Callable[[], Awaitable[Json]],
    container: str,
    key: ClientKey,
    hold: Callable[["AgentConnection[AgentHello]"], Awaitable[LinkLost | None]] = until_closed,
    keeper: "Keeper | None" = None,
) -> "Uplink[AgentHello]":
    """Return the uplink to the pod that `find_pod` waits for; to be run. `keeper` is told of each link.

    It ends when there was no link for PATIENCE_S, or with the pod.
    """
    from ktpy.link.connection import AgentServer
    from ktpy.link.dial_policy import DialWithin
    from ktpy.link.session import SHADOW_SESSION
    from ktpy.link.uplink import AgentPod, Uplink

    async def find() -> "AgentPod":
        pod = await find_pod()
        name, port = name_of(pod), ssh_port(pod, container)

        async def printed() -> str | None:
            try:
                return await host_key(api, name, container)
            except KtpyError:  # the pod is gone, and the link with it
                return None

        return AgentPod(
            name,
            PortForward(api, api.namespace, name, port),
            printed,
            f"The SSH host key is not the one that pod {name} printed, so somebody is between; ktpy ended the session.",
            AgentServer(port=port),
        )

    async def may_return() -> bool:
        return await may_run(api, name_of(await find_pod()))

    policy = DialWithin(Backoff(*RETRY_S), Backoff(*AGAIN_S), PATIENCE_S, may_return)
    holding = partial(keeper.hold, until_closed=hold) if keeper is not None else hold
    return Uplink(find, key, SHADOW_SESSION, policy, hold=holding)


async def may_run(api: Api, pod: str) -> bool:
    """Tell whether the pod runs; it may where nobody can tell."""
    try:
        found = await api.request("GET", PODS.path(api.namespace, pod))
    except NotFound:
        return False
    except KtpyError:
        return True
    return status_of(found).get("phase") == "Running" and not is_being_deleted(found)


async def connected(uplink: "Uplink[AgentHello]", within_s: float = TIMEOUT_S) -> "AgentConnection[AgentHello]":
    """Wait for the connection, and return it. The uplink must run. Raises PodNotReady after the time."""
    try:
        async with asyncio.timeout(within_s):
            return await uplink.connection()
    except TimeoutError as exc:
        raise PodNotReady(
            f"The dev container runs, but its agent did not accept a session within {within_s:g} s.",
            hint="Its image needs a shell at /bin/sh; see the log of the dev pod's container.",
        ) from exc
