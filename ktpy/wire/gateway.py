"""What a gateway's pods stand in front of: the document in their annotation, which whoever made them wrote. Pure."""

import ipaddress
import json
import re
from typing import Any, NamedTuple

from ktpy.wire.pod import GATEWAY_ANNOTATION
from ktpy.wire.version import VERSION, is_understood

_PORT_NAME = re.compile(r"[a-z0-9-]{0,63}")
_TARGET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


class SpecError(ValueError):
    """The annotation is missing or not of the agreed form."""


class Port(NamedTuple):
    """A Port is one port of a Service that a gateway stands in front of."""

    port: int
    """This is the Service's port number, by which laptops name it."""
    name: str
    bind: int
    """The gateway listens on this number, to which the Service's targetPort leads."""
    protocol: str
    """TCP or UDP."""
    http: bool

    def __str__(self) -> str:
        notes = [note for note in (self.name, self.protocol if self.protocol != "TCP" else "") if note]
        return f"{self.port} ({', '.join(notes)})" if notes else str(self.port)


class GatewaySpec(NamedTuple):
    """A GatewaySpec is what a gateway's pods are told."""

    target: str
    """This is the name of the intercepted Service, for messages."""
    origin: str | None
    """This is the IP address of the Service with the original pods; None for a preview, which has none."""
    ports: tuple[Port, ...]
    version: int = VERSION
    """The version of the wire that its writer spoke."""

    @property
    def tcp_ports(self) -> tuple[Port, ...]:
        return tuple(port for port in self.ports if port.protocol == "TCP")

    @property
    def udp_ports(self) -> tuple[Port, ...]:
        return tuple(port for port in self.ports if port.protocol == "UDP")

    def document(self) -> str:
        """Render the annotation's value."""
        document = {
            "version": self.version,
            "target": self.target,
            "origin": {"host": self.origin} if self.origin is not None else None,
            "ports": [port._asdict() for port in self.ports],
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def parse(cls, value: str) -> "GatewaySpec":
        """Read the annotation's value; keys it does not know are ignored. SpecError says what is wrong with it."""
        try:
            document = json.loads(value)
            if not is_understood(version := document["version"]):
                raise SpecError(
                    f"the annotation {GATEWAY_ANNOTATION} is of version {version!r}, and this agent reads {VERSION}"
                )
            origin = document["origin"]
            spec = cls(
                target=document["target"],
                origin=None if origin is None else str(ipaddress.ip_address(origin["host"])),
                ports=tuple(_port(item) for item in document["ports"]),
                version=version,
            )
            if not _TARGET.fullmatch(spec.target):
                raise SpecError(f"{spec.target!r} is no name of a Service")
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise SpecError(
                f"the annotation {GATEWAY_ANNOTATION} is not as agreed: {type(exc).__name__} {exc}"
            ) from exc
        for field in ("port", "bind"):
            taken = [(getattr(port, field), port.protocol) for port in spec.ports]
            if len(set(taken)) != len(taken):
                raise SpecError(f"the annotation {GATEWAY_ANNOTATION} names a {field} number twice")
        return spec


def _port(item: dict[str, Any]) -> Port:
    port = Port(item["port"], item["name"] or "", item["bind"], item["protocol"], item["http"])
    for number in (port.port, port.bind):
        if type(number) is not int or not 0 < number < 65536:
            raise SpecError(f"{number!r} is no port number")
    if port.protocol not in ("TCP", "UDP") or type(port.http) is not bool or not _PORT_NAME.fullmatch(port.name):
        raise SpecError(f"{item!r} describes no port")
    return port
