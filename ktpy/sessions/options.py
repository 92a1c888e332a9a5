"""What the user asked for, and the words it is said in. The command line needs no other module of the lower layers."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ktpy.capture.spec import CaptureSpec, Launched
from ktpy.cluster.changes.options import DEFAULT_IMAGE, DEFAULT_POD_TIMEOUT_S, KEEP, WAIT, WAIT_S, InterceptOptions
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, parse_expose
from ktpy.cluster.service.reference import Reference
from ktpy.errors import ProxyPortTaken
from ktpy.helper.routable import is_default_route, is_reserved, reserved_in
from ktpy.wire.route import Header, Match, is_path_prefix, parse_header

__all__ = [
    "DEFAULT_IMAGE",
    "DEFAULT_POD_TIMEOUT_S",
    "KEEP",
    "WAIT",
    "WAIT_S",
    "AppProtocol",
    "CaptureSpec",
    "ConnectOptions",
    "ExposeOption",
    "Header",
    "InterceptOptions",
    "Launched",
    "Match",
    "Reference",
    "is_path_prefix",
    "listen_for_proxy",
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
    command: tuple[str, ...] = ()
    """The user's own, which runs while the session stands, and ends it."""
    image: str = DEFAULT_IMAGE
    pod_overlay: Mapping[str, Any] = field(default_factory=dict)
    """What is merged into the pod's template: its metadata and spec."""
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S


def listen_for_proxy(port: int | None) -> socket.socket:
    """Return the socket that the proxy of this session will accept on; None is any port that is free.

    Raises ProxyPortTaken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, asyncio turns Nagle off
    try:
        if os.name == "posix":  # elsewhere it would let two programs listen
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port or 0))
        listener.listen()
    except OSError as error:
        listener.close()
        why = os.strerror(error.errno or 0)
        raise ProxyPortTaken(
            f"ktpy's proxy cannot listen on port {port} of 127.0.0.1 ({why}); nothing was changed.",
            hint="Choose another with --proxy-port, or leave it out: then it is one that is free.",
        ) from error
    return listener


def refusal_of_include(network: IPv4Network | IPv6Network) -> str | None:
    """Why the helper would never route this range, as a sentence; None where it would."""
    if is_reserved(network):
        return f"{network} lies in {reserved_in(network)}, which is never routed."
    if network.prefixlen and is_default_route(network):  # choosing the ranges refuses the whole address space
        return f"{network} is as wide as a default route, which ktpy never takes."
    return None


def refusal_of_zone(zone: str) -> str | None:
    """Why this is no zone to ask the cluster about, as a sentence; None where it is one."""
    from ktpy.helper.protocol import check_domain  # its module is large, and no other command's
    from ktpy.helper.wire import MessageError

    try:
        check_domain(zone.strip(".~"))
    except MessageError as error:
        return f"{error} (wanted: a zone such as corp.example, which stands for all names below it)"
    return None
