"""What the user asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from ktpy import __version__
from ktpy.cluster.service.ports import AppProtocol, Expose
from ktpy.wire.route import ORIGIN, Match

DEFAULT_IMAGE = f"ghcr.io/ktpy/agent:{__version__}"
DEFAULT_POD_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Of `ktpy connect`. Every field is one option of the command line; the defaults are the documented ones."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    include: tuple[IPv4Network | IPv6Network, ...] = ()
    exclude: tuple[IPv4Network | IPv6Network, ...] = ()
    dns_zones: tuple[str, ...] = ()
    pods: bool = True
    dns: bool = True
    image: str = DEFAULT_IMAGE
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class InterceptOptions:
    """Of `ktpy exchange`, `ktpy mesh` and `ktpy preview`."""

    kind: str
    """exchange, mesh or preview."""
    target: str
    """What the user named: `web`, `deployment/web`; the new Service's name for a preview."""
    expose: tuple[Expose, ...]
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    match: Match | None = None
    """Which requests; None takes all."""
    protocol: AppProtocol | None = None
    when_local_down: str = ORIGIN
    gateway_labels: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    ingress_host: str | None = None
    ingress_class: str | None = None
    image: str = DEFAULT_IMAGE
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S
    command: tuple[str, ...] = ()
    """To be run while it stands; it leaves with the command's end."""
