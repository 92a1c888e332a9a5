"""The tunnel of a `connect` into the cluster: a shadow pod, and what leads to it. What is lost of it is had again."""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.shadow import Shadow
from ktpy.errors import KtpyError, LinkLost
from ktpy.kube.client import Api
from ktpy.kube.portforward.turns import Turns
from ktpy.link.key import make_key
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Notice, Report
from ktpy.sessions.options import ConnectOptions
from ktpy.sessions.outages import Outages
from ktpy.sessions.routing import Routing
from ktpy.sessions.shadow_uplink import connection_keeper, datagram_link, direct_way, notice_sleep, shadow_uplink
from ktpy.sessions.shadows import Shadows

if TYPE_CHECKING:
    from ktpy.link.datagrams import DatagramLink
    from ktpy.link.direct import DirectWay
    from ktpy.link.keeper import Keeper
    from ktpy.link.uplink import Uplink
    from ktpy.wire.datagram import Frame
    from ktpy.wire.session import AgentHello

AWAY_DELETE_TIMEOUT_S = 1.0
"""An end does not wait long for an API server that is known to be away."""


class Tunnel:
    """A Tunnel is made part by part: first the pod, which takes the longest, then what leads to it."""

    def __init__(
        self,
        api: Api,
        options: ConnectOptions,
        outages: Outages,
        report: Report,
        step: Callable[[str, str], None],
        *,
        is_ready: Callable[[], bool],
        owner: str,
        does: str,
    ) -> None:
        """Once the session `is_ready`, a lost link or pod is no end of it. `does` is what others are told of it."""
        self._api, self._options, self._outages = api, options, outages
        self._report, self._step, self._is_ready = report, step, is_ready
        self._key, self._turns = make_key(), Turns()
        self._links: list[Uplink[AgentHello] | DatagramLink] = []
        """What leads to the pod, and is lost with it."""
        self.keeper: Keeper | None = None
        """None where connections end with the link."""
        self._direct: DirectWay | None = None
        """The way past the API server, where one is wanted."""

        def make() -> Shadow:
            return Shadow(
                api,
                image=options.image,
                public_key=self._key.public_line,
                pod_timeout_s=options.pod_timeout_s,
                keep_s=options.keep_s,
                pod_overlay=options.pod_overlay,
                is_exposed=options.via is not None,
                owner=owner,
                does=does,
                on_progress=self._tell_of_pod,
            )

        self._shadows = Shadows(make, self._comes_back, self._lose_pod)

    @property
    def shadow(self) -> Shadow:
        return self._shadows.present

    @property
    def pod(self) -> str | None:
        """The name of the pod, once there is one."""
        return self._shadows.pod

    @property
    def via(self) -> str | None:
        """The address past the API server, while one is used."""
        return self._direct.address if self._direct else None

    async def create_pod(self, undo: AsyncExitStack, work: asyncio.TaskGroup) -> None:
        """Create the shadow pod, and keep one in `work`; return once the first one's Job is there."""
        undo.push_async_callback(uninterrupted, self._delete_pod)
        work.create_task(self._shadows.run(), name="keep a shadow pod")
        await self._shadows.wait_created()

    def hold_uplink(
        self, routing: Routing, counters: CounterReaders, undo: AsyncExitStack, work: asyncio.TaskGroup
    ) -> "Uplink[AgentHello]":
        """Hold the uplink to the shadow pod in `work`."""
        options = self._options
        self.keeper = connection_keeper(options.keep_s, self._report, counters)
        if options.via:
            self._direct = direct_way(options.via, self._shadows, routing, self._step, self._report)
        uplink = shadow_uplink(
            self._api,
            self._shadows,
            self._outages,
            self._key,
            pod_timeout_s=options.pod_timeout_s,
            comes_back=self._comes_back,
            keeper=self.keeper,
            direct=self._direct,
            ssh_only=options.ssh_only,
            turns=self._turns,
        )
        self._links.append(uplink)
        undo.callback(uplink.close)
        counters["link"] = lambda: numbers(uplink.carried())
        work.create_task(uplink.run(), name="hold uplink")
        work.create_task(notice_sleep(uplink), name="notice sleep")
        return uplink

    def datagram_link(self) -> "DatagramLink":
        """Return the link for datagrams, to be carried."""
        return datagram_link(self._api, self._shadows, self._outages, self._key, self._turns)

    def carry_datagrams(
        self, link: "DatagramLink", receive: "Callable[[Iterable[Frame]], None]", work: asyncio.TaskGroup
    ) -> None:
        """Hold the link for datagrams in `work`; `receive` gets what comes back."""
        self._links.append(link)
        work.create_task(link.run(receive), name="carry datagrams")
        work.create_task(notice_sleep(link), name="notice sleep for datagrams")

    def _comes_back(self) -> bool:
        """Whether a lost link or pod is no end."""
        return self._is_ready() and self._options.reconnect

    def _tell_of_pod(self, progress: PodProgress) -> None:
        if not self._is_ready():
            self._step("pod", str(progress))

    def _lose_pod(self, error: KtpyError) -> None:
        self._outages.failed(error)
        if self.keeper:
            self.keeper.reset(error.message)
        for link in self._links:
            link.lose(LinkLost(error.message))

    async def _delete_pod(self) -> None:
        job = self.shadow.job
        self._step("end", f"deleting job {job} ...")
        try:
            await self._shadows.delete(*((AWAY_DELETE_TIMEOUT_S,) if self._outages.is_api_away else ()))
        except KtpyError as error:
            why = f"Job {job} could not be deleted: {error.message}"
            minutes = 2 + math.ceil(self._options.keep_s / 60)
            self._report(Notice(f"{why} It removes itself within {minutes if minutes > 2 else 'two'} minutes."))
