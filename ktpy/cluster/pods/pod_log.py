"""The agent's lines in its pod's log, for users who may read it."""

import asyncio
from collections.abc import Awaitable, Callable

from ktpy.errors import ApiRefused, Forbidden
from ktpy.kube.client import Api
from ktpy.kube.resources import PODS

HOST_KEY_ATTEMPTS = 20
HOST_KEY_PERIOD_S = 0.25
_HOST_KEY = "ktpy-agent host-key "


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
        for line in text.splitlines():
            if line.startswith(_HOST_KEY):
                return line.removeprefix(_HOST_KEY).strip()
        await sleep(HOST_KEY_PERIOD_S)
    return None
