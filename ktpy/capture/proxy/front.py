"""The front of mode `proxy`: a loopback port for programs that are told of it. Nothing on the laptop is changed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from ktpy.capture.loopback import LoopbackFront
from ktpy.capture.proxy.dialler import Dialler
from ktpy.capture.proxy.names import Names
from ktpy.capture.proxy.peer import login_where_needed
from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.settings import environment, pac_file
from ktpy.capture.spec import LOOPBACK, Launched
from ktpy.dns.records import normalised
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import Uplink
from ktpy.observe.events import Report
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial


class ProxyFront(LoopbackFront):
    """A ProxyFront has a port that accepts once names are answered."""

    resolver_name = "the proxy"

    def __init__(self, listener: socket.socket, login: tuple[str, str] | None) -> None:
        super().__init__()
        self.listener, self.login = listener, login
        self.names: asyncio.Future[Names] = asyncio.get_running_loop().create_future()
        self._proxied: ApiEndpoint | None = None
        self._zones: tuple[str, ...] = ()

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: Report) -> "ProxyFront":  # noqa: ARG003
        if not isinstance(launched, socket.socket):
            raise TypeError("mode proxy begins with a listening socket")
        undo.callback(launched.close)
        return cls(launched, await asyncio.to_thread(login_where_needed))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def name(self) -> str:
        return f"the proxy on {LOOPBACK}:{self.port}"

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus:
        """Where a proxy of the user's leads to the API server, kubectl is not told to go there directly."""
        pac = f"http://{LOOPBACK}:{self.port}/proxy.pac"
        self._proxied = server if server.proxy else None
        return ProxyStatus(self.port, pac, environment(self.port, self.login, [] if server.proxy else [server.host]))

    async def start_pump(
        self,
        uplink: Uplink[AgentHello],  # noqa: ARG002 - a dial waits by itself
        datagrams: DatagramLink | None,
        undo: AsyncExitStack,
        *,
        dial: "Dial",
    ) -> ProxyServer:
        dialler = Dialler(self.names, dial, self.networks, self._proxied)
        server = ProxyServer(self.listener, dialler, self.login, self._pac, datagrams=datagrams)
        undo.push_async_callback(server.aclose)
        return server

    def _pac(self) -> str:
        namespaces = self.zone.namespaces() if self.zone else ()
        return pac_file(self.port, self._zones, namespaces, self.networks)

    async def serve_names(
        self, *arguments: Any, extra_zones: Sequence[str], **named: Any
    ) -> tuple[DnsStatus, AsyncIterator[str]]:
        served = await super().serve_names(*arguments, extra_zones=extra_zones, **named)
        self._zones = ("svc", served[0].cluster_domain, *sorted(normalised(extra_zones)))
        self.names.set_result(Names(self.lookup.result()))
        return served
