"""The main process reaches the helper by this module, which is light to import: it does not load netlink.

    helper = await HelperClient.start()
    async with helper:
        tun = await helper.open_tun(mtu_bytes=1500)
        ...

Leaving the block undoes everything the helper did, and so does the death of either process.
"""

import asyncio
import collections
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from ktpy.errors import HelperFailed
from ktpy.helper.launch import LaunchedHelper, launch
from ktpy.helper.protocol import (
    AddRoutes,
    BindDns,
    DetectResolver,
    DnsBound,
    Failed,
    Hello,
    KeepOutside,
    KeptOutside,
    ListLocalNetworks,
    LocalNetwork,
    LocalNetworks,
    OpenTun,
    Recover,
    Recovered,
    Reply,
    Request,
    Resolver,
    ResolverSet,
    RestoreRoutes,
    RoutesAdded,
    RoutesRestored,
    SetResolver,
    TunOpened,
    UndoAll,
    Undone,
    decode_reply,
    encode,
    receive_packet,
)
from ktpy.helper.wire import Address, MessageError, Network
from ktpy.observe.trace import traced

R = TypeVar("R")

ANSWER_TIMEOUT_S = 15.0
"""This is more than any request takes, with all of the helper's own time-outs."""

ROUTES_AT_ONCE = 512
"""A route takes the helper 1 to 4 ms, and it answers nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Tun:
    """A Tun is the device and its descriptors, which the receiver closes."""

    opened: TunOpened
    descriptor: int
    flow_map: int | None = None
    """Flows that are in this map are the kernel's (`ktpy.helper.flow_program`); None where it takes none."""

    def close(self) -> None:
        """Close both."""
        _close_all((self.descriptor, *(() if self.flow_map is None else (self.flow_map,))))


@dataclass(frozen=True, slots=True)
class DnsSockets:
    """DnsSockets are bound to port 53 of one address, non-blocking, TCP not yet listening. The receiver closes them."""

    address: Address
    udp: socket.socket
    tcp: socket.socket


_Answer = tuple[Reply, tuple[int, ...]]


class HelperClient:
    """A HelperClient asks a running helper. Requests may overlap; they are served one after the other."""

    def __init__(self, channel: "_HelperChannel", hello: Hello) -> None:
        self._channel = channel
        self.hello = hello

    @classmethod
    async def start(cls, launched: LaunchedHelper | None = None) -> Self:
        """Launch the helper, unless that is done already, and wait until it listens.

        Behind sudo that takes as long as the user takes to type the password.
        Raises PrivilegeMissing and HelperFailed.
        """
        channel = _HelperChannel(launched or launch())
        try:
            return cls(channel, await channel.hello())
        except BaseException:
            channel.drop()
            raise

    async def __aenter__(self) -> "HelperClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- requests

    async def recover(self) -> tuple[Undone, ...]:
        """Undo what killed helpers left; return one report for each journal found."""
        return (await self._channel.ask(Recover(), Recovered)).journals

    async def local_networks(self) -> tuple[LocalNetwork, ...]:
        """Return the networks this machine reaches already, without default routes, loopback and link-local."""
        return (await self._channel.ask(ListLocalNetworks(), LocalNetworks)).networks

    async def open_tun(self, mtu_bytes: int = 1500) -> Tun:
        """Make the TUN device. Raises TunUnavailable."""
        reply, descriptors = await self._channel.ask_with_descriptors(OpenTun(mtu_bytes), TunOpened, None)
        return Tun(reply, *descriptors)

    async def keep_outside(self, addresses: Iterable[Address]) -> None:
        """Have the helper refuse routes to these from now on."""
        await self._channel.ask(_valid(KeepOutside, tuple(addresses)), KeptOutside)

    async def add_routes(self, networks: Iterable[Network]) -> None:
        """Route networks into the TUN device. Raises HelperFailed, and RangeOverlap by the helper's own rules.

        A failure adds none, or of more than ROUTES_AT_ONCE those of earlier requests.
        """
        every = tuple(networks)
        for start in range(0, len(every), ROUTES_AT_ONCE):
            await self._channel.ask(_valid(AddRoutes, every[start : start + ROUTES_AT_ONCE]), RoutesAdded)

    async def restore_routes(self) -> tuple[Network, ...]:
        """Bring up the TUN device and add the routes into it that have vanished; return those. Raises HelperFailed."""
        return (await self._channel.ask(RestoreRoutes(), RoutesRestored)).networks

    async def bind_dns(self, addresses: Iterable[Address]) -> list[DnsSockets]:
        """Bind port 53 on 127.18.0.0/16 or the TUN's own addresses. Raises HelperFailed, with nothing bound."""
        request = BindDns(tuple(addresses))
        _, descriptors = await self._channel.ask_with_descriptors(request, DnsBound, 2 * len(request.addresses))
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        return [
            DnsSockets(address, udp, tcp)
            for address, udp, tcp in zip(request.addresses, sockets[::2], sockets[1::2], strict=True)
        ]

    async def detect_resolver(self) -> Resolver:
        """Return how the machine resolves names. Raises ResolverNotWritable if that cannot even be read."""
        return await self._channel.ask(DetectResolver(), Resolver)

    async def set_resolver(
        self,
        nameservers: Iterable[Address],
        *,
        search: Iterable[str],
        routing_domains: Iterable[str] = (),
        cluster_domain: str,
    ) -> Resolver:
        """Make the machine ask `nameservers` (bound before by `bind_dns`); return what it asked until now.

        Short names work when this returns. Raises ResolverNotWritable, with nothing changed.
        """
        request = _valid(SetResolver, tuple(nameservers), tuple(search), tuple(routing_domains), cluster_domain)
        return (await self._channel.ask(request, ResolverSet)).previous

    async def close(self) -> Undone | None:
        """Have everything undone and wait until it is; return None when the helper was gone before it could report."""
        try:
            if self._channel.closed.is_set():
                return None
            return await self._channel.ask(UndoAll(), Undone)
        except HelperFailed:
            return None
        finally:
            self._channel.drop()

    async def wait_closed(self) -> None:
        """Wait until the helper is gone. It takes the routes with it, so the caller has to end at once."""
        await self._channel.closed.wait()


class _HelperChannel:
    """A _HelperChannel sends requests and hands each reply to whoever asked; they come in the order of the requests."""

    def __init__(self, launched: LaunchedHelper) -> None:
        self.closed = asyncio.Event()
        self._launched = launched
        self._socket = launched.socket
        self._waiting: collections.deque[asyncio.Future[_Answer]] = collections.deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._on_readable)

    async def hello(self) -> Hello:
        """Wait for the packet that comes without a request. Raises PrivilegeMissing and HelperFailed."""
        timeout_s = None if self._launched.by_sudo else ANSWER_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                reply, _ = await self._next_answer()
        except TimeoutError as exc:
            raise HelperFailed(f"The privileged helper did not start within {timeout_s:.0f} s.") from exc
        except ConnectionError as exc:
            raise await asyncio.to_thread(self._launched.failure) from exc
        return _expect(Hello, reply)

    async def ask(self, request: Request, shape: type[R]) -> R:
        """Ask for a reply without descriptors. Raises the failure it tells of, and HelperFailed."""
        reply, _ = await self.ask_with_descriptors(request, shape, 0)
        return reply

    async def ask_with_descriptors(
        self, request: Request, shape: type[R], count: int | None
    ) -> tuple[R, tuple[int, ...]]:
        """Ask for a reply with `count` descriptors; None is any number. Raises as `ask`."""
        try:
            with traced("helper", type(request).__name__):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    reply, descriptors = await self._send(request)
        except TimeoutError as exc:
            raise HelperFailed(
                f"The privileged helper did not answer {type(request).__name__} within {ANSWER_TIMEOUT_S:.0f} s."
            ) from exc
        except OSError as exc:
            raise HelperFailed(
                f"The privileged helper ended{self._launched.last_words()}.",
                hint="What it changed is in its journal; undo it with: sudo ktpy clean",
            ) from exc
        if len(descriptors) != count is not None and not isinstance(reply, Failed):
            _close_all(descriptors)
            raise HelperFailed(f"The privileged helper sent {len(descriptors)} descriptors, not {count}.")
        return _expect(shape, reply), descriptors

    def drop(self) -> None:
        """Close the socket; a helper that is still there undoes everything now."""
        if not self.closed.is_set():
            self._end(ConnectionResetError())
        self._launched.close()

    def _send(self, request: Request) -> asyncio.Future[_Answer]:
        """Send a request: whole or not at all (SOCK_SEQPACKET), so there is nothing to wait for. Raises OSError."""
        if self.closed.is_set():
            raise ConnectionResetError("the helper is gone")
        self._socket.send(encode(request))
        return self._next_answer()

    def _next_answer(self) -> asyncio.Future[_Answer]:
        answer: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting.append(answer)
        return answer

    def _on_readable(self) -> None:
        try:
            packet, descriptors = receive_packet(self._socket)
            if not packet:
                raise ConnectionResetError
            reply = decode_reply(packet)
        except BlockingIOError:
            return
        except (OSError, MessageError) as exc:
            self._end(exc)
            return
        if self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result((reply, descriptors))
                return
        _close_all(descriptors)  # nobody waits any more: the asking task was cancelled

    def _end(self, exc: Exception) -> None:
        self._loop.remove_reader(self._socket)
        self.closed.set()
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(ConnectionError(str(exc)))
        self._waiting.clear()


def _expect(shape: type[R], reply: Reply) -> R:
    if isinstance(reply, Failed):
        raise reply.to_error()
    if not isinstance(reply, shape):
        raise HelperFailed(f"The privileged helper answered with {type(reply).__name__}.")
    return reply


def _valid(shape: type[R], *fields: object) -> R:
    """Make a request; raise HelperFailed, in the words of the protocol, for one that the helper would refuse."""
    try:
        return shape(*fields)
    except MessageError as exc:
        raise HelperFailed(f"The privileged helper would refuse this: {exc}.") from exc


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
