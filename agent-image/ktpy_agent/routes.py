"""The table of live routes says who gets which requests. Pure; the gateway's supervisor owns the one instance."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import FAIL, TCP, Match, Refusal, RouteHello, RouteRequest, ServicePort

MAX_ROUTES = 1000
"""A gateway takes no more. With so many, HAProxy takes 57 MB and a reload 0.4 s; most of the memory is sshd's."""
_TOKEN_BYTES = 6


class Refused(Exception):
    """A route cannot be had, now or at all; `refusal` is what the laptop is told."""

    def __init__(self, sentence: str, holder: str | None = None, *, for_now: bool = False) -> None:
        super().__init__(sentence)
        self.refusal = Refusal(sentence, holder, for_now)


class Route(NamedTuple):
    """A Route is some or all requests of a port, for as long as one SSH session lives."""

    serial: int
    """No two routes share one."""
    session: str
    owner: str
    port: Port
    match: Match | None
    fails_when_down: bool
    token: str
    """Only the laptop is told it: no other can put a socket in the place of its own."""
    copied_percent: int | None = None
    """A tap gets copies of this share of the requests; None where they come themselves."""

    @property
    def service_port(self) -> ServicePort:
        return ServicePort(self.port.port, self.port.protocol)

    @property
    def name(self) -> str:
        """The name of its back ends in HAProxy."""
        return f"route{self.serial}"

    @property
    def stem(self) -> str:
        """The stem of its unix sockets' names: `.sock` is sshd's and leads to the laptop, `.alive` tells so."""
        return f"{self.session}-{self.port.port}-{self.token}"


class RouteTable:
    def __init__(self, spec: GatewaySpec) -> None:
        self._spec = spec
        self._serial = 0
        self.routes: tuple[Route, ...] = ()
        """They are the oldest first: where two matches hold for one request, the older one has it."""
        self.last_owner: dict[int, str] = {}
        """The owner who had an exchange of a port last, by port number."""
        self.generation = 1
        """This counts the changes."""

    def join(self, hello: RouteHello) -> tuple[Route, ...]:
        """Give a session all the routes it asks for, or raise Refused and change nothing.

        A session that is here already is replaced: its laptop has lost the connection and come back, perhaps before
        the old one was missed.
        """
        others = tuple(route for route in self.routes if route.session != hello.session)
        if len(others) + len(hello.routes) > MAX_ROUTES:
            raise Refused(f"the gateway of {self._spec.target} has {len(others)} routes, and takes {MAX_ROUTES}")
        joined: tuple[Route, ...] = ()
        for number, request in enumerate(hello.routes, self._serial + 1):
            port = self._port(request)
            for other in others + joined:
                is_copied = request.copied_percent or other.copied_percent
                if other.port == port and not is_copied and _clash(other.match, request.match):
                    raise Refused(_clash_sentence(self._spec, port, request.match, other.owner), other.owner)
            fails_when_down = request.when_local_down == FAIL
            token = os.urandom(_TOKEN_BYTES).hex()
            who, share = (number, hello.session, hello.owner), request.copied_percent
            joined += (Route(*who, port, request.match, fails_when_down, token, share),)
        self._serial += len(joined)
        self.routes = others + joined
        self.last_owner |= {
            route.port.port: route.owner
            for route in joined
            if route.match is None and route.port.protocol == TCP and not route.copied_percent
        }
        self.generation += 1
        return joined

    def leave(self, session: str) -> tuple[Route, ...]:
        """Take away what a session has; return the routes that went."""
        gone = tuple(route for route in self.routes if route.session == session)
        if gone:
            self.routes = tuple(route for route in self.routes if route.session != session)
            self.generation += 1
        return gone

    def _port(self, request: RouteRequest) -> Port:
        target = self._spec.target
        wanted = ServicePort(request.port, request.protocol)
        for port in self._spec.ports:
            if (port.port, port.protocol) == wanted:
                break
        else:
            known = ", ".join(str(port) for port in self._spec.ports)
            raise Refused(f"service {target} has no port {wanted}; it has {known}")
        if request.match is not None and not port.http:
            raise Refused(f"port {wanted} of service {target} is not HTTP, so no header can be matched on it")
        if request.copied_percent and not port.http:
            raise Refused(f"port {wanted} of service {target} is not HTTP, so no request can be copied")
        return port


def _clash(one: Match | None, other: Match | None) -> bool:
    """Return whether two routes of a port ask for the same requests: both all of them, or one alternative in common."""
    if one is None or other is None:
        return one is other
    return not _alternatives(one).isdisjoint(_alternatives(other))


def _alternatives(match: Match) -> frozenset[tuple[frozenset[object], str | None]]:
    criteria = {frozenset[object](match.headers), frozenset[object](match.baggage)}
    return frozenset((each, match.path_prefix) for each in criteria if each or criteria == {each})


def _clash_sentence(spec: GatewaySpec, port: Port, match: Match | None, holder: str) -> str:
    what = "is exchanged" if match is None else "has a mesh with that match"
    return f"port {ServicePort(port.port, port.protocol)} of service {spec.target} {what} by {holder} already"


def describe(routes: Iterable[Route]) -> str:
    """Return what these routes take, for the log."""
    return ", ".join(
        f"{f'{route.copied_percent} % copies of ' if route.copied_percent else ''}"
        f"{'all' if route.match is None else 'some'} of port {route.service_port}"
        for route in routes
    )
