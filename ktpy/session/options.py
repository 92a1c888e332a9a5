"""What the user asked of `ktpy connect`."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ktpy import __version__

DEFAULT_IMAGE = f"ghcr.io/ktpy/agent:{__version__}"
DEFAULT_POD_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Every field is one option of the command line; the defaults are the documented ones."""

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
