"""Tells which port of a Service an `--expose` means, its protocol, and where the gateway listens for it. Pure.

The application protocol follows the conventions of Istio's explicit protocol selection
(https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/) and KEP-3726:

1. `appProtocol`: http, http2, h2c, grpc, grpc-web, ws, kubernetes.io/h2c and kubernetes.io/ws are HTTP; https, tls, wss
   and kubernetes.io/wss are TLS; anything else is TCP.
2. otherwise the name up to its first hyphen: http, http2, h2c, grpc, ws are HTTP; https, tls, wss are TLS; tcp, mongo,
   mysql, postgres, redis are TCP.
3. otherwise the number, as IANA assigns it: 80 is HTTP, 443 is TLS; anything else is TCP.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from ipaddress import IPv6Address

from ktpy.errors import PortUnknown, RouteTaken, TargetUnsuitable
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json, name_of
from ktpy.wire import gateway
from ktpy.wire.pod import READY_PORT, SSHD_PORT
from ktpy.wire.route import TCP, ServicePort

PORT_MAX = 65535
_HTTP = frozenset({"http", "http2", "h2c", "grpc", "ws"})
_TLS = frozenset({"https", "tls", "wss"})
_TCP = frozenset({"tcp", "mongo", "mysql", "postgres", "redis"})
_HTTP_APP = _HTTP | {"grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws"}
_TLS_APP = _TLS | {"kubernetes.io/wss"}
_UNPRIVILEGED = 1024
_EXPOSE = re.compile(
    r"(?:(?:(?P<host>(?=[^:]*[A-Za-z.])[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)|\[(?P<host6>[0-9A-Fa-f:.]+)\]):(?=[^:]+:))?"
    r"(?P<local>\d+)(?::(?P<remote>[^:/]+))?(?:/(?P<protocol>(?i:tcp|udp)))?"
)
_HERE = frozenset({None, "localhost", "127.0.0.1", "::1"})
_NAMED_PORTS_FROM = 8000
"""What is added to a privileged port whose target is a name, to make the gateway's own: 80 becomes 8080."""


class AppProtocol(StrEnum):
    """The protocol that clients use on a port, as far as the gateway has to know it."""

    HTTP = "http"
    TLS = "tls"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class ExposeOption:
    """What the user wrote as `--expose LOCAL[:REMOTE]` or `HOST:PORT:REMOTE`; `remote` is a port's number or name.

    `/udp` or `/tcp` may follow, as kubectl writes it.
    """

    local: int
    """0 is the number that the pods have."""
    remote: str | None = None
    host: str | None = None
    """Where the local port is, if not on a loopback address of this laptop."""
    protocol: str | None = None
    """TCP or UDP; None where the user does not say."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        ports = ":".join(part for part in (host, str(self.local), self.remote) if part)
        return f"{ports}/{self.protocol.lower()}" if self.protocol else ports


@dataclass(frozen=True, slots=True)
class PortMapping:
    """What that means for a Service: its port `remote` goes to port `local` of the laptop."""

    local: int
    remote: int
    host: str | None = None
    """Where the local port is, if not on a loopback address of this laptop."""
    protocol: str = TCP
    """TCP or UDP, of both ports."""
    is_http: bool = field(default=False, compare=False)
    """Whether HTTP is spoken there, as far as the Service or the user says."""

    @property
    def service_port(self) -> ServicePort:
        return ServicePort(self.remote, self.protocol)


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """One port of the Service and where the gateway's pods listen for it."""

    port: int
    name: str
    bind: int
    protocol: str
    http: bool
    target: str | None = None
    """The name that the Service's targetPort asks for; the gateway's container port bears it."""

    def relayed(self) -> gateway.Port:
        """The port as the gateway's pods are told of it."""
        return gateway.Port(self.port, self.name, self.bind, self.protocol, self.http)


def parse_expose(options: Iterable[str]) -> tuple[ExposeOption, ...]:
    """Parse `--expose`, repeated or comma-separated. Raises ValueError with a sentence for the user."""
    found = []
    for text in (part.strip() for option in options for part in option.split(",")):
        parts = _EXPOSE.fullmatch(text)
        if parts is None or not _is_port(parts["local"]):
            raise ValueError(
                f"{text!r} is not LOCAL[:REMOTE], such as 3001:80, 3001:http or 5353:53/udp, nor HOST:PORT:REMOTE, "
                "such as 172.17.0.2:8080:80."
            )
        remote, host = parts["remote"], parts["host"] or parts["host6"]
        if remote and remote.isdecimal() and not _is_port(remote):
            raise ValueError(f"{remote} is no port: ports are 1 to {PORT_MAX}.")
        if parts["host6"] and not _is_ipv6(parts["host6"]):
            raise ValueError(f"{parts['host6']} is no IPv6 address.")
        protocol = parts["protocol"] and parts["protocol"].upper()
        found.append(ExposeOption(int(parts["local"]), remote, None if host in _HERE else host, protocol))
    return tuple(found)


def spoken_on(port: Json) -> AppProtocol:
    """Return the protocol by appProtocol, name and number of a Service's port."""
    if app := str(port.get("appProtocol") or "").lower():
        return AppProtocol.HTTP if app in _HTTP_APP else AppProtocol.TLS if app in _TLS_APP else AppProtocol.TCP
    prefix = str(port.get("name") or "").partition("-")[0]
    for names, spoken in ((_HTTP, AppProtocol.HTTP), (_TLS, AppProtocol.TLS), (_TCP, AppProtocol.TCP)):
        if prefix in names:
            return spoken
    return {80: AppProtocol.HTTP, 443: AppProtocol.TLS}.get(port["port"], AppProtocol.TCP)


def resolve_ports(
    service: Json, wanted: Sequence[ExposeOption], *, by_request: bool = False, protocol: AppProtocol | None = None
) -> tuple[PortMapping, ...]:
    """Find out what each `--expose` means for this Service; `protocol` is what the user says is spoken there.

    `by_request` says whether single requests are told apart, or copied: that takes HTTP.

    Raises PortUnknown, TargetUnsuitable and RouteTaken.
    """
    found: dict[ServicePort, PortMapping] = {}
    for expose in wanted:
        port = _port_meant(service, expose, by_request=by_request)
        _refuse_unsuitable(service, port, by_request=by_request, protocol=protocol)
        first = ServicePort(_sharing_target(service, port)[0]["port"], _protocol(port))
        if first in found:
            raise RouteTaken(f"Port {_words(port)} of {name_of(service)} is exposed twice in this command.")
        is_http = first.protocol == TCP and (protocol or spoken_on(port)) is AppProtocol.HTTP
        found[first] = PortMapping(expose.local, first.number, expose.host, first.protocol, is_http)
    return tuple(found.values())


def numbered_as_in_pods(service: Json, exposed: Iterable[PortMapping], pod: Json | None) -> tuple[PortMapping, ...]:
    """Give each local port whose number is 0 the one that the Service's pods have, of which `pod` may be one.

    It is the Service's own where a named port cannot be found.
    """
    containers = (pod or {}).get("spec", {}).get("containers", ())
    named = {port.get("name"): port["containerPort"] for one in containers for port in one.get("ports") or ()}

    def local_for(one: PortMapping) -> int:
        target = _target(_by_number(service, one.service_port))
        return one.local or (target if isinstance(target, int) else named.get(target, one.remote))

    return tuple(replace(one, local=local_for(one)) for one in exposed)


def shared_ports(service: Json, exposed: Iterable[PortMapping]) -> list[str]:
    """Return a warning for each exposed port that leads to the same target port as another, so both are exposed."""
    warnings = []
    for one in exposed:
        alike = [str(port["port"]) for port in _sharing_target(service, _by_number(service, one.service_port))]
        if len(alike) > 1:
            numbers = " and ".join(alike)
            warnings.append(
                f"Ports {numbers} of {name_of(service)} lead to the same port of the pods: all of them are exposed."
            )
    return warnings


def gateway_ports(service: Json, spoken: Mapping[int, AppProtocol] | None = None) -> tuple[GatewayPort, ...]:
    """Choose where the gateway listens for each port of the Service; `spoken` overrides the protocol of some.

    A target port that is a number is kept. One that is a name may be any number, since the gateway's container port
    bears the name. Ports of the Service that share a target port are one port for the gateway.
    """
    distinct = [port for port in _ports(service) if _sharing_target(service, port)[0] is port]
    taken = {(_protocol(port), _target(port)) for port in distinct if isinstance(_target(port), int)}
    taken |= {("TCP", SSHD_PORT), ("TCP", READY_PORT)}
    found = []
    for port in distinct:
        target, protocol = _target(port), _protocol(port)
        if isinstance(target, int):
            bind, name = target, None
        else:
            bind, name = port["port"], target
            bind += _NAMED_PORTS_FROM if bind < _UNPRIVILEGED else 0
            while (protocol, bind) in taken:
                bind = bind + 1 if bind < PORT_MAX else _UNPRIVILEGED
            taken.add((protocol, bind))
        is_http = protocol == "TCP" and (spoken or {}).get(port["port"], spoken_on(port)) is AppProtocol.HTTP
        found.append(GatewayPort(port["port"], str(port.get("name") or ""), bind, protocol, is_http, name))
    return tuple(found)


def agent_ports(ports: Iterable[GatewayPort]) -> tuple[int, int]:
    """Choose the ports of the gateway's sshd and of its readiness probe among those that the Service does not use."""
    taken = {port.bind for port in ports if port.protocol == "TCP"}
    ssh, ready, *_ = [number for number in range(SSHD_PORT, SSHD_PORT + len(taken) + 2) if number not in taken]
    return ssh, ready


def describe(service: Json) -> str:
    """Return the Service's ports in a line: `80 (http), 7 (echo-udp, UDP)`."""
    return ", ".join(_words(port) for port in _ports(service))


def as_data(service: Json) -> list[Json]:
    """Return the Service's ports as `ktpy list --output json` shows them."""
    return [
        {"port": port["port"], "name": port.get("name"), "protocol": _protocol(port), "app_protocol": spoken_on(port)}
        for port in _ports(service)
    ]


def _port_meant(service: Json, expose: ExposeOption, *, by_request: bool) -> Json:
    """Raise PortUnknown where no port is meant, or TCP and UDP of one number are; HTTP can only mean TCP then."""
    ports = [port for port in _ports(service) if expose.protocol in (None, _protocol(port))]
    if expose.remote is None:
        tcp = [port for port in ports if _protocol(port) == "TCP"]
        candidates = [port for port in ports if port["port"] == expose.local] or (tcp if len(tcp) == 1 else [])
        if not candidates and len(ports) == 1:
            candidates = ports
        problem = f"--expose {expose} does not say which port of {name_of(service)} is meant."
    else:
        candidates = [port for port in ports if expose.remote in (str(port["port"]), port.get("name"))]
        kind = f"{expose.protocol} " if expose.protocol else ""
        problem = f"Service {name_of(service)} has no {kind}port {expose.remote}."
    if not candidates:
        raise PortUnknown(problem, hint=f"Its ports are: {describe(service)}.")
    candidates.sort(key=lambda port: _protocol(port) != TCP)
    if len(candidates) > 1 and not by_request:
        number, words = candidates[0]["port"], " and ".join(map(_words, candidates))
        raise PortUnknown(
            f"--expose {expose} does not say whether TCP or UDP is meant: {name_of(service)} has ports {words}.",
            hint=f"Say --expose {expose.local}:{number}/udp or {expose.local}:{number}/tcp, or both.",
        )
    return candidates[0]


def _refuse_unsuitable(service: Json, port: Json, *, by_request: bool, protocol: AppProtocol | None) -> None:
    where = f"port {_words(port)} of {name_of(service)}"
    transport = _protocol(port)
    if by_request and transport != TCP:
        raise TargetUnsuitable(
            f"A mesh or tap picks HTTP requests, and {transport} has none: {where} keeps reaching the original pods.",
            hint="ktpy exchange takes all of the port.",
        )
    if not by_request:
        return
    match protocol or spoken_on(port):
        case AppProtocol.TLS:
            raise TargetUnsuitable(
                f"Clients speak TLS on {where}, so no request can be seen there to tell it apart or copy it.",
                hint="ktpy exchange takes all of the port; if it is plain HTTP after all, say --protocol http.",
            )
        case AppProtocol.TCP:
            raise TargetUnsuitable(
                f"Nothing says that {where} is HTTP, and only HTTP has requests to tell apart or copy.",
                hint="If it is HTTP, say --protocol http, or set the port's appProtocol to http.",
            )


def _sharing_target(service: Json, port: Json) -> list[Json]:
    """Return the ports of the Service with this one's target port, itself among them, in order."""
    key = (_protocol(port), _target(port))
    return [other for other in _ports(service) if (_protocol(other), _target(other)) == key]


def _by_number(service: Json, wanted: ServicePort) -> Json:
    return next(port for port in _ports(service) if (port["port"], _protocol(port)) == wanted)


def _ports(service: Json) -> list[Json]:
    return service["spec"].get("ports") or []


def _protocol(port: Json) -> str:
    return str(port.get("protocol") or "TCP")


def _target(port: Json) -> int | str:
    found: int | str = port.get("targetPort") or port["port"]
    return found


def _words(port: Json) -> str:
    notes = [str(port["name"])] if port.get("name") else []
    notes += [_protocol(port)] if _protocol(port) != "TCP" else []
    return f"{port['port']} ({', '.join(notes)})" if notes else str(port["port"])


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).version == 6
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= PORT_MAX
