"""What the user asked for, and the words it is said in. The command line needs no other module of the lower layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ktpy.capture.spec import CaptureSpec
from ktpy.cluster.changes.options import DEFAULT_IMAGE, DEFAULT_POD_TIMEOUT_S, KEEP, InterceptOptions
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, parse_expose
from ktpy.cluster.service.reference import Reference
from ktpy.helper.protocol import check_domain
from ktpy.helper.routable import is_default_route, is_reserved, reserved_in
from ktpy.helper.wire import MessageError
from ktpy.wire.route import Header, Match, is_path_prefix, parse_header

__all__ = [
    "DEFAULT_IMAGE",
    "DEFAULT_POD_TIMEOUT_S",
    "KEEP",
    "AppProtocol",
    "ConnectOptions",
    "ExposeOption",
    "Header",
    "InterceptOptions",
    "Match",
    "Reference",
    "is_path_prefix",
    "parse_expose",
    "parse_header",
    "refusal_of_include",
    "refusal_of_zone",
]


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """The options of `ktpy connect`. Their defaults are the documented ones."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    include: tuple[IPv4Network | IPv6Network, ...] = ()
    exclude: tuple[IPv4Network | IPv6Network, ...] = ()
    dns_zones: tuple[str, ...] = ()
    pods: bool = True
    dns: bool = True
    reconnect: bool = True
    """Whether a lost link is dialled again; else it ends the session."""
    capture: CaptureSpec = field(default_factory=CaptureSpec)
    image: str = DEFAULT_IMAGE
    pod_overlay: Mapping[str, Any] = field(default_factory=dict)
    """What is merged into the pod's template: its metadata and spec."""
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S


def refusal_of_include(network: IPv4Network | IPv6Network) -> str | None:
    """Why the helper would never route this range, as a sentence; None where it would."""
    if is_reserved(network):
        return f"{network} lies in {reserved_in(network)}, which is never routed."
    if network.prefixlen and is_default_route(network):  # choosing the ranges refuses the whole address space
        return f"{network} is as wide as a default route, which ktpy never takes."
    return None


def refusal_of_zone(zone: str) -> str | None:
    """Why this is no zone to ask the cluster about, as a sentence; None where it is one."""
    try:
        check_domain(zone.strip(".~"))
    except MessageError as error:
        return f"{error} (wanted: a zone such as corp.example, which stands for all names below it)"
    return None
