"""Guards an intercept while others change its Service, or delete the objects beside it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

from ktpy.aio.retry import retry
from ktpy.aio.task_group import task_group
from ktpy.cluster.changes.gateway_entry import GatewayEntry
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.errors import SessionLost, TargetAbsent
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import SERVICES
from ktpy.kube.watch import watch_object

INSISTENCE_S = 60.0
"""Somebody who puts the selector back twice within this time means it, or is a controller that would never stop."""
ADDRESS_S = 30.0
"""How long the API server may take to give the address of a deleted Service back."""
RETRY_S = 0.2


class GatewayGuard:
    """A GatewayGuard looks after one session's part in a gateway, from the end of its entry on."""

    def __init__(self, api: Api, interceptee: Interceptee, session: SessionIdentity, entry: GatewayEntry) -> None:
        self._api, self._interceptee, self._session, self._entry = api, interceptee, session, entry
        self._target = interceptee.name
        self._put_back_s = float("-inf")
        """When somebody last put the Service's selector back, by the event loop's clock."""
        self._has_given_in = False

    async def run(self, on_notice: Callable[[str], None]) -> None:
        """Follow what others do to the Service and the gateway, until cancelled.

        Mends what would leave the Service without endpoints. Raises TargetAbsent when the Service is deleted, and
        SessionLost when somebody has taken this session out.
        """
        if (difference := self._entry.version_difference) is not None:
            on_notice(f"The gateway of {self._target} is {difference} than this ktpy; they understand each other.")
        if self._entry.advice is not None:
            on_notice(self._entry.advice)
        gateway, origin = self._interceptee.gateway(self._api), self._interceptee.origin(self._api)
        async with task_group() as tasks:
            for collection, name, judge in (
                (SERVICES.path(self._interceptee.namespace), self._target, self._judge_service),
                (gateway.collection, gateway.name, self._judge_gateway),
                (origin.collection, origin.name, self._judge_origin),
            ):
                tasks.create_task(self._follow(collection, name, partial(judge, on_notice)), name=f"watch {name}")

    async def _follow(self, collection: str, name: str, judge: Callable[[Json | None], Awaitable[None]]) -> None:
        async with aclosing(watch_object(self._api, collection, name)) as states:
            async for found in states:
                await judge(found)

    async def _judge_service(self, on_notice: Callable[[str], None], service: Json | None) -> None:
        if service is None:
            raise TargetAbsent(f"Service {self._target} was deleted.")
        state = service_state.read(service)
        if state is not None and self._session.id not in state.sessions:
            raise SessionLost(f"Somebody has taken this session out of service {self._target}.")
        if state is None and not service_state.is_redirected(service):
            raise SessionLost(f"Somebody has given service {self._target} back to its own pods.")
        if service_state.is_redirected(service):
            self._has_given_in = False
            if len(service["spec"]["selector"]) > 1 or state is None:
                on_notice(f"Somebody has changed {self._target} while it is intercepted; ktpy has mended its selector.")
                await self._entry.redirect()
        elif not self._has_given_in:
            before_s, self._put_back_s = self._put_back_s, asyncio.get_running_loop().time()
            self._has_given_in = self._put_back_s - before_s < INSISTENCE_S
            if self._has_given_in:
                on_notice(
                    f"Somebody has put the selector of {self._target} back again: its traffic goes to the original "
                    "pods only, until ktpy is started again."
                )
                return
            on_notice(f"Somebody has applied {self._target} as it was; ktpy redirects it once more.")
            await self._entry.redirect()

    async def _judge_gateway(self, on_notice: Callable[[str], None], deployment: Json | None) -> None:
        if deployment is None:
            on_notice(f"Somebody has deleted the gateway of {self._target}; ktpy makes it anew.")
            await self._entry.hold_origin()
            await self._entry.hold_gateway()

    async def _judge_origin(self, on_notice: Callable[[str], None], origin: Json | None) -> None:
        if origin is None:
            on_notice(f"Somebody has deleted service {self._interceptee.origin_name}; ktpy makes it anew.")
            # The gateway's pods know its address: it has to be the same. It is given back after the deletion is told.
            hold = partial(self._entry.hold_origin, address=self._entry.origin_address)
            await retry(hold, partial(asyncio.sleep, RETRY_S), within_s=ADDRESS_S)
