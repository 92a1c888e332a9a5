"""Runs a command in a container by the API server (`pods/exec`) and returns what it prints.

It is a WebSocket whose messages begin with a channel: 1 is standard output, 2 standard error, 3 how it ended, a Status
object (k8s.io/apimachinery/pkg/util/remotecommand).
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from ktpy.errors import ApiUnreachable, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import parse_object
from ktpy.kube.resources import PODS

SUBPROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
OUTPUT_LIMIT_BYTES: Final = 8 << 20
TIMEOUT_S: Final = 15.0
_OUTPUT, _ERRORS, _STATUS = 1, 2, 3
_SHOWN: Final = 200


async def output_of(api: Api, pod: str, container: str, command: Sequence[str]) -> bytes:
    """Return what the command prints.

    Raises TargetUnsuitable for a command that cannot be run or fails, RightMissing, NotFound, and ApiUnreachable for a
    connection that is cut off, or silent for too long.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", one) for one in command)]
    printed = {_OUTPUT: bytearray(), _ERRORS: bytearray(), _STATUS: bytearray()}
    where = f"pod {pod}"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async with api.websocket(PODS.path(api.namespace, pod, "exec"), query, SUBPROTOCOLS) as messages:
                async for data in messages:
                    if data and (channel := printed.get(data[0])) is not None:
                        channel += data[1:]
                    if len(printed[_OUTPUT]) > OUTPUT_LIMIT_BYTES:
                        raise TargetUnsuitable(f"{command[0]} prints too much in {where}.")
    except TimeoutError as exc:
        raise ApiUnreachable(f"{command[0]} did not end within {TIMEOUT_S:.0f} s in {where}.") from exc
    if not printed[_STATUS]:
        raise ApiUnreachable(f"The connection by which {command[0]} ran in {where} was cut off.")
    status = parse_object(bytes(printed[_STATUS]))
    if status.get("status") != "Success":
        why = bytes(printed[_ERRORS]).decode(errors="replace") or str(status.get("message"))
        raise TargetUnsuitable(f"{command[0]} does not run in {where}: {' '.join(why.split())[:_SHOWN]}")
    return bytes(printed[_OUTPUT])
