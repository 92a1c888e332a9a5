"""What a gateway stands in front of: the pod's annotation `ktpy.dev/gateway`, written by whoever made the pod."""

import ipaddress
import json
import re
from typing import Any, NamedTuple

ANNOTATION = "ktpy.dev/gateway"
_PORT_NAME = re.compile(r"[a-z0-9-]{0,63}")
_TARGET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


class SpecError(ValueError):
    """The annotation is missing or not of the agreed form."""


class Port(NamedTuple):
    port: int
    """The Service's port number, by which laptops name it."""
    name: str
    bind: int
    """What the gateway listens on: the number that the Service's targetPort leads to."""
    protocol: str
    """TCP or UDP."""
    http: bool

    def __str__(self) -> str:
        return f"{self.port} ({self.name})" if self.name else str(self.port)


class GatewaySpec(NamedTuple):
    target: str
    """Name of the intercepted Service, for messages."""
    origin: str | None
    """IP address of the Service with the original pods; None for a preview, which has none."""
    ports: tuple[Port, ...]

    @property
    def tcp_ports(self) -> tuple[Port, ...]:
        return tuple(port for port in self.ports if port.protocol == "TCP")

    @property
    def udp_ports(self) -> tuple[Port, ...]:
        return tuple(port for port in self.ports if port.protocol == "UDP")


def find_annotation(text: str, name: str) -> str | None:
    """One annotation's value from the downward API's file: `name="value"`, quoted as Go's %q does.

    For printable text those are JSON's quotes; what only Go knows (`\\x00`, `\\a`) is in no value of ours.
    """
    for line in text.split("\n"):
        if line.startswith(f'{name}="'):
            try:
                return str(json.loads(line[len(name) + 1 :]))
            except ValueError as exc:
                raise SpecError(f"the annotation {name} cannot be read: {exc}") from exc
    return None


def parse_spec(annotations: str) -> GatewaySpec:
    """The spec of this pod from the text of its annotations file; SpecError says what is wrong with it."""
    value = find_annotation(annotations, ANNOTATION)
    if value is None:
        raise SpecError(f"the pod has no annotation {ANNOTATION}")
    try:
        document = json.loads(value)
        if document["version"] != 1:
            raise SpecError(
                f"the annotation {ANNOTATION} is of version {document['version']!r}, and this agent reads 1"
            )
        origin = document["origin"]
        spec = GatewaySpec(
            target=document["target"],
            origin=None if origin is None else str(ipaddress.ip_address(origin["host"])),
            ports=tuple(_port(item) for item in document["ports"]),
        )
        if not _TARGET.fullmatch(spec.target):
            raise SpecError(f"{spec.target!r} is no name of a Service")
    except (ValueError, TypeError, KeyError) as exc:
        raise SpecError(f"the annotation {ANNOTATION} is not as agreed: {type(exc).__name__} {exc}") from exc
    for field in ("port", "bind"):
        taken = [(getattr(port, field), port.protocol) for port in spec.ports]
        if len(set(taken)) != len(taken):
            raise SpecError(f"the annotation {ANNOTATION} names a {field} number twice")
    return spec


def _port(item: dict[str, Any]) -> Port:
    port = Port(item["port"], item["name"] or "", item["bind"], item["protocol"], item["http"])
    for number in (port.port, port.bind):
        if type(number) is not int or not 0 < number < 65536:
            raise SpecError(f"{number!r} is no port number")
    if port.protocol not in ("TCP", "UDP") or type(port.http) is not bool or not _PORT_NAME.fullmatch(port.name):
        raise SpecError(f"{item!r} describes no port")
    return port
