"""What the user asked for, and the words it is said in. The command line needs no other module of the lower layers."""

import re
import socket
from collections.abc import Mapping
from dataclasses import field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from ktpy.capture.spec import LOOPBACK, CaptureSpec, Launched, listen_on_loopback
from ktpy.cluster.changes.options import (
    DEFAULT_POD_TIMEOUT_S,
    KEEP,
    VERSION_HEADER,
    WAIT,
    WAIT_S,
    DevOptions,
    DevPatch,
    InterceptOptions,
    PersistentDir,
    Publish,
    SyncFolder,
    parse_persistent_dir,
)
from ktpy.cluster.pods.image import DEFAULT_IMAGE
from ktpy.cluster.pods.volumes import ClaimAccess
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, parse_expose
from ktpy.cluster.service.reference import Reference
from ktpy.errors import LocalPortTaken
from ktpy.frozen import dataclass
from ktpy.helper.routable import is_default_route, is_reserved, reserved_in
from ktpy.wire.dev import Exec
from ktpy.wire.route import TCP, Header, Match, is_path_prefix, parse_header

__all__ = [
    "DEFAULT_IMAGE",
    "DEFAULT_POD_TIMEOUT_S",
    "KEEP",
    "LAPTOPS_OWN",
    "REFUSE",
    "TRANSLATE",
    "VERSION_HEADER",
    "WAIT",
    "WAIT_S",
    "AppProtocol",
    "CaptureSpec",
    "ClaimAccess",
    "ConnectOptions",
    "DevOptions",
    "DevPatch",
    "Exec",
    "ExposeOption",
    "ForwardOptions",
    "Header",
    "InterceptOptions",
    "Launched",
    "Match",
    "PersistentDir",
    "PortChoice",
    "Publish",
    "Reference",
    "RunOptions",
    "SyncFolder",
    "Via",
    "is_path_prefix",
    "listen_for_proxy",
    "parse_exchange",
    "parse_expose",
    "parse_forward",
    "parse_forwarded",
    "parse_header",
    "parse_persistent_dir",
    "parse_publish",
    "parse_reverse",
    "parse_via",
    "refusal_of_include",
    "refusal_of_name",
    "refusal_of_pool",
    "refusal_of_zone",
]


REFUSE: Final = "refuse"
TRANSLATE: Final = "translate"
_PUBLISH = re.compile(r"(?:(?P<local>\d{1,5}):)?(?P<port>\d{1,5})")

LAPTOPS_OWN: Final = frozenset({"PATH", "HOME", "SHELL", "TERM", "PWD"})
"""These variables stay the laptop's, on which a program or shell runs, whatever the workload sets."""


def parse_publish(text: str) -> Publish:
    """Read `[LOCAL:]PORT`. Raises ValueError with a sentence for the user."""
    found = _PUBLISH.fullmatch(text)
    numbers = [int(number) for number in found.groups() if number] if found else []
    if not numbers or not all(1 <= number <= 65535 for number in numbers):
        raise ValueError(f"{text!r} is not [LOCAL:]PORT, such as 8080 or 8080:80; ports are 1 to 65535.")
    return Publish(numbers[0], numbers[-1])


def parse_forward(text: str) -> Publish:
    """Read `[LOCAL:]PORT`, or `:PORT` for any port of the laptop that is free. Raises ValueError with a sentence."""
    return replace(parse_publish(text[1:]), local=0) if re.fullmatch(r":\d+", text) else parse_publish(text)


def parse_reverse(text: str) -> Publish:
    """Read `PORT[:LOCAL]`: a port of the container, which leads to one of the laptop. Raises ValueError."""
    try:
        turned = parse_publish(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not PORT[:LOCAL], such as 5432 or 5432:15432; ports are 1 to 65535.") from exc
    return Publish(turned.port, turned.local)


def parse_exchange(text: str) -> ExposeOption:
    """Read `[LOCAL:]PORT`, a port of a Service by its number. Raises ValueError with a sentence for the user."""
    publish = parse_publish(text)
    return ExposeOption(publish.local if ":" in text else 0, str(publish.port), protocol=TCP)


@dataclass(frozen=True, slots=True)
class WorkloadChoice:
    """A WorkloadChoice is what the user named: a workload, and one of its containers where it has several."""

    target: str
    """As `Reference.parse` takes it."""
    container: str | None = None
    from_pod: bool = False
    """Whether the environment is that of a pod which runs, by `exec`."""


@dataclass(frozen=True, slots=True)
class EnvironmentEdits:
    """EnvironmentEdits are what the user wants otherwise in the program's environment."""

    set: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()

    def applied(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment with them."""
        return {name: value for name, value in {**environment, **self.set}.items() if name not in self.unset}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `ktpy run` beside those of a connect."""

    publish: tuple[Publish, ...] = ()
    finds_ports: bool = True
    service: str | None = None
    """Whose traffic the program gets, as `Reference.parse` takes it; None is the workload's."""
    exchange: tuple[ExposeOption, ...] = ()
    """Its ports; the local ones are the program's, and 0 is the number that the pods have."""
    match: Match | None = None
    """Which requests; None is all of them."""
    workload: WorkloadChoice | None = None
    """Whose pod's surroundings the program gets; None is nobody's."""
    edits: EnvironmentEdits = field(default_factory=EnvironmentEdits)
    claims: ClaimAccess = ClaimAccess.COPY
    """What the program gets of the workload's claims."""


@dataclass(frozen=True, slots=True)
class PortChoice:
    """A PortChoice names one that leads to the laptop's loopback."""

    local: int | None
    """0 for any that is free, None for one like the remote one."""
    remote: str
    """A number, or the name of a Service's port."""
    protocol: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """The options of `ktpy forward` beside those of a connect."""

    target: str | None = None
    """As `Reference.parse` takes it; None for every Service of the namespace."""
    ports: tuple[PortChoice, ...] = ()
    """None are all that the target has."""


_FORWARDED = re.compile(r"(?:(?P<local>\d{0,5}):)?(?P<remote>[a-z0-9][a-z0-9-]{0,14})(?:/(?P<protocol>(?i:tcp|udp)))?")


def parse_forwarded(text: str) -> PortChoice:
    """Read `[[LOCAL]:]PORT[/udp]`, where PORT may be a name. Raises ValueError with a sentence for the user."""
    found = _FORWARDED.fullmatch(text)
    numbers = [int(one) for one in (found["local"], found["remote"]) if one and one.isdecimal()] if found else [0]
    if not found or not all(1 <= number <= 65535 for number in numbers):
        raise ValueError(f"{text!r} is not [LOCAL:]PORT, such as 80, 8080:80, :80 or 5353:dns/udp.")
    local = int(found["local"] or 0) if found["local"] is not None else None
    return PortChoice(local, found["remote"], found["protocol"].upper() if found["protocol"] else None)


@dataclass(frozen=True, slots=True)
class Via:
    """A Via is where the pod's sshd can be reached past the API server: a host and a port, or what the cluster has."""

    host: str = ""
    """Empty for the pod's node, on a port that the cluster gives."""
    port: int = 0
    is_auto: bool = False
    """Whether it is what can be had: the pod itself, or its node, or none."""


def parse_via(text: str) -> Via | None:
    """Read `api` (None), `auto`, `node`, or `HOST:PORT`. Raises ValueError with a sentence for the user."""
    if text in ("api", "auto", "node"):
        return None if text == "api" else Via(is_auto=text == "auto")
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(
            f"{text!r} is not auto, api, node or HOST:PORT, such as ssh.example.com:2222 or [fd00::7]:2222."
        )
    return Via(host.removeprefix("[").removesuffix("]"), int(port))


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """The options of `ktpy connect`. Their defaults are the documented ones."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    include: tuple[IPv4Network | IPv6Network, ...] = ()
    exclude: tuple[IPv4Network | IPv6Network, ...] = ()
    name: str | None = None
    """What the session, and the cluster, is called here, beside one without a name."""
    on_overlap: str = REFUSE
    """What becomes of ranges that a local network has, too: `refuse` or `translate`."""
    translate_to: tuple[IPv4Network | IPv6Network, ...] = ()
    """The ranges that stand-ins are taken from; families without one have a default."""
    dns_zones: tuple[str, ...] = ()
    pods: bool = True
    dns: bool = True
    reconnect: bool = True
    """Whether a lost link is dialled again; else it ends the session."""
    keep_s: float = 0.0
    """How long open connections wait for a lost link; with 0 they end with it."""
    capture: CaptureSpec = field(default_factory=CaptureSpec)
    for_s: float = 0.0
    """The session ends by itself after so long; 0 is never."""
    via: Via | None = None
    """Connections take this way past the API server while there is one."""
    ssh_only: bool = False
    """Whether all that connections carry is inside SSH, bulk too, which the API server could read otherwise."""
    local_shortcut: bool = False
    """Whether connections to a service that this user has taken over here go straight to the local port."""
    command: tuple[str, ...] = ()
    """The user's own, which runs while the session stands, and ends it."""
    image: str = DEFAULT_IMAGE
    pod_overlay: Mapping[str, Any] = field(default_factory=dict)
    """What is merged into the pod's template: its metadata and spec."""
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S


def listen_for_proxy(port: int | None) -> socket.socket:
    """Return the socket that the proxy of this session will accept on; None is any port that is free.

    Raises LocalPortTaken.
    """
    try:
        return listen_on_loopback(port or 0)
    except OSError as error:
        raise LocalPortTaken(
            f"ktpy's proxy cannot listen on port {port} of {LOOPBACK} ({error.strerror}); nothing was changed.",
            hint="Choose another with --proxy-port, or leave it out: then it is one that is free.",
        ) from error


def listen_for(publish: Publish, option: str = "--publish") -> socket.socket:
    """Return the laptop's end of a port that `option` leads elsewhere. Raises LocalPortTaken."""
    try:
        return listen_on_loopback(publish.local)
    except OSError as error:
        raise LocalPortTaken(
            f"Port {publish.local} of {LOOPBACK} cannot be listened on ({error.strerror}); nothing was changed.",
            hint=f"Choose another one of this laptop: {option} LOCAL:{publish.port}",
        ) from error


def refusal_of_include(network: IPv4Network | IPv6Network) -> str | None:
    """Why the helper would never route this range, as a sentence; None where it would."""
    if is_reserved(network):
        return f"{network} lies in {reserved_in(network)}, which is never routed."
    if network.prefixlen and is_default_route(network):  # choosing the ranges refuses the whole address space
        return f"{network} is as wide as a default route, which ktpy never takes."
    return None


def refusal_of_name(name: str) -> str | None:
    """Why no connection can be called so, as a sentence; None where it can."""
    if re.fullmatch(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", name) and name not in ("svc", "pod", "arpa", "local"):
        return None
    return (
        f"{name!r} is no name for a cluster, such as east: up to 32 lower-case letters, digits and dashes, with a"
        " letter first and no dash last, and none of svc, pod, arpa and local."
    )


def refusal_of_pool(network: IPv4Network | IPv6Network) -> str | None:
    """Why no addresses can be taken from this range in place of the cluster's, as a sentence; None where they can."""
    if not network.prefixlen or is_reserved(network):
        return f"{network} holds addresses that are never routed."
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
