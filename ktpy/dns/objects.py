"""Services and EndpointSlices, cut down to what DNS answers need.

A cluster may have ten thousand of them: slots, packed addresses and interned strings keep one Service with its
slice below two kilobytes. Frozen and comparable, so that an update that changes nothing here is seen as such.
"""

from dataclasses import dataclass
from sys import intern
from typing import NamedTuple

from ktpy.dns.records import packed
from ktpy.kube.objects import Endpoint, Json, endpoints_of, labels_of, metadata_of, spec_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class NamedPort(NamedTuple):
    """A NamedPort of a Service or of an EndpointSlice; `name` is "" when it has none."""

    name: str
    protocol: str
    number: int


class EndpointAddress(NamedTuple):
    """An EndpointAddress is one address behind a Service; `hostname` is "" when the pod has none of its own."""

    address: bytes
    hostname: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A Service has cluster IPs, or is `headless`, or is an alias (`external_name`)."""

    namespace: str
    name: str
    cluster_ips: tuple[bytes, ...]
    headless: bool
    external_name: str
    publishes_unready: bool
    ports: tuple[NamedPort, ...]

    @classmethod
    def of(cls, obj: Json) -> "Service":
        """Read the JSON form of a v1 Service."""
        metadata, spec = metadata_of(obj), spec_of(obj)
        external = spec.get("type") == "ExternalName"
        cluster_ips = [] if external else (spec.get("clusterIPs") or [spec.get("clusterIP") or ""])
        return cls(
            namespace=intern(metadata.get("namespace", "default")),
            name=intern(metadata["name"]),
            cluster_ips=tuple(packed(address) for address in cluster_ips if address not in ("", "None")),
            headless="None" in cluster_ips,
            external_name=(spec.get("externalName") or "").lower().rstrip(".") if external else "",
            publishes_unready=bool(spec.get("publishNotReadyAddresses")),
            ports=_ports(spec),
        )


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """An EndpointSlice belongs to the Service `service`."""

    namespace: str
    name: str
    service: str
    endpoints: tuple[EndpointAddress, ...]
    ports: tuple[NamedPort, ...]

    @classmethod
    def of(cls, obj: Json) -> "EndpointSlice | None":
        """Read the JSON form of a discovery.k8s.io/v1 EndpointSlice; None when DNS has no use for it."""
        metadata, service = metadata_of(obj), labels_of(obj).get(SERVICE_NAME_LABEL)
        if not service or obj.get("addressType") not in ("IPv4", "IPv6"):
            return None
        return cls(
            namespace=intern(metadata.get("namespace", "default")),
            name=intern(metadata["name"]),
            service=intern(service),
            endpoints=tuple(
                EndpointAddress(packed(address), intern((endpoint.get("hostname") or "").lower()), _is_ready(endpoint))
                for endpoint in endpoints_of(obj)
                for address in endpoint.get("addresses") or ()
            ),
            ports=_ports(obj),
        )


def _is_ready(endpoint: Endpoint) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False  # an absent condition is to be taken as ready


def _ports(holder: Json) -> tuple[NamedPort, ...]:
    return tuple(
        NamedPort(
            intern((port.get("name") or "").lower()), intern((port.get("protocol") or "TCP").lower()), port["port"]
        )
        for port in holder.get("ports") or ()
        if port.get("port") is not None  # a slice without a port number stands for all ports
    )
