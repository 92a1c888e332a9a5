"""The agent's lines in its pod's log, for users who may read it."""

import asyncio
from collections.abc import Awaitable, Callable

from ktpy.errors import ApiRefused, Forbidden
from ktpy.kube.client import Api
from ktpy.kube.resources import PODS
from ktpy.wire.pod import parse_host_key

HOST_KEY_ATTEMPTS = 20
HOST_KEY_PERIOD_S = 0.25


async def host_key(
    api: Api, pod: str, container: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> str | None:
    """Return the public host key the agent printed (`ssh-ed25519 AAAA...`); None where logs may not be read.

    It is None, too, when the key has not come after HOST_KEY_ATTEMPTS looks at the log.
    """
    log = PODS.path(api.namespace, pod, "log")
    for _ in range(HOST_KEY_ATTEMPTS):
        try:
            text = await api.text(log, query={"container": container, "limitBytes": "65536"})
        except Forbidden:
            return None
        except ApiRefused:  # the container is still being created
            text = ""
        if (found := parse_host_key(text)) is not None:
            return found
        await sleep(HOST_KEY_PERIOD_S)
    return None
