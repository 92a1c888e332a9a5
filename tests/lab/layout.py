"""Where a lab lives: every name, path and address, derived from the lab's name alone.

Two labs side by side have the same addresses: each has network namespaces of its own, joined to nothing else.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

REPOSITORY = Path(__file__).resolve().parents[2]
STATE_ROOT = Path("/var/lib/ktpy-lab")
NETNS_DIR = Path("/run/netns")  # where `ip netns` keeps names

DEFAULT_NAME = "ktpy"
FIRST_LAPTOP, MAX_LAPTOPS = 1, 200
NODE_NAME = "node1"
CLUSTER_DOMAIN = "cluster.local"
LAPTOP_USER = "dev"

NODE_IPV4, NODE_IPV6 = "10.99.0.1", "fd99::1"
LAPTOP_IPV4, LAPTOP_IPV6 = "10.99.0.2", "fd99::2"
FURTHER_IPV4, FURTHER_IPV6 = "10.99.{number}.{end}", "fd99:0:0:{number:x}::{end}"  # end 1 is the node's, 2 the laptop's
RESOLVER_IPV4, RESOLVER_IPV6 = "10.99.0.53", "fd99::53"
LINK_IPV4_PREFIX_LENGTH, LINK_IPV6_PREFIX_LENGTH = 24, 64
CLUSTER_IPV4, CLUSTER_IPV6 = "10.244.0.0/16", "fd44::/56"  # the node ranges are cut from these
POD_IPV4, POD_IPV6 = "10.244.0.0/24", "fd44::/64"
LAST_POD = 191
"""The number of the last address in these that a pod may have: tests have addresses behind it that are nobody's."""
SERVICE_IPV4, SERVICE_IPV6 = "10.96.0.0/16", "fd96::/108"
API_SERVICE_IPV4, API_SERVICE_IPV6 = "10.96.0.1", "fd96::1"
CLUSTER_DNS_IPV4 = "10.96.0.10"
API_PORT = 6443

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,19}")


def cache_root() -> Path:
    """What is expensive to make and belongs to no lab: binaries, images, base systems."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "ktpy" / "lab"


@dataclass(frozen=True)
class Layout:
    """The places of one lab, as one of its laptops has them."""

    name: str = DEFAULT_NAME
    laptop: int = FIRST_LAPTOP
    """1 is the lab's own. Further ones are made by `laptops`, and see nothing but the API server."""

    def __post_init__(self) -> None:
        if not FIRST_LAPTOP <= self.laptop <= MAX_LAPTOPS:
            raise LabError(f"laptops have the numbers {FIRST_LAPTOP} to {MAX_LAPTOPS}")
        if not NAME_PATTERN.fullmatch(self.name):
            raise LabError(f"{self.name!r} is no name for a lab: lower-case letters, digits and dashes, 20 at most")

    @property
    def state_dir(self) -> Path:
        return STATE_ROOT / self.name

    @property
    def lock_file(self) -> Path:
        """Beside the state, so that the lock outlives the state's removal."""
        return STATE_ROOT / f".{self.name}.lock"

    @property
    def node_netns(self) -> str:
        return f"ktpy-lab-{self.name}-node"

    @property
    def laptop_name(self) -> str:
        """Its host name, and what of the lab's is only its own is named for it."""
        return "laptop" if self.laptop == FIRST_LAPTOP else f"laptop-{self.laptop}"

    @property
    def laptop_netns(self) -> str:
        return f"ktpy-lab-{self.name}-{self.laptop_name}"

    @property
    def node_netns_path(self) -> Path:
        return NETNS_DIR / self.node_netns

    @property
    def laptop_netns_path(self) -> Path:
        return NETNS_DIR / self.laptop_netns

    @property
    def laptop_netns_paths(self) -> list[Path]:
        """The network namespaces of all laptops that there are, whoever made them."""
        pattern = re.compile(rf"ktpy-lab-{self.name}-laptop(-\d+)?")
        return [path for path in sorted(NETNS_DIR.glob("ktpy-lab-*")) if pattern.fullmatch(path.name)]

    @property
    def cgroup_name(self) -> str:
        return f"ktpy-lab-{self.name}"

    @property
    def pki_dir(self) -> Path:
        return self.state_dir / "pki"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "log"

    @property
    def run_dir(self) -> Path:
        """Process records and other facts about what runs now."""
        return self.state_dir / "run"

    @property
    def node_dir(self) -> Path:
        """What the node keeps: etcd, containerd, kubelet, CNI."""
        return self.state_dir / "node"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state_dir / "admin.kubeconfig"

    @property
    def bin_dir(self) -> Path:
        """Links to the cached Kubernetes binary under each component's name."""
        return self.state_dir / "bin"

    @property
    def runtime_dir(self) -> Path:
        """A link to the cached containerd and runc, in a lab that does not have the machine's."""
        return self.state_dir / "runtime"

    @property
    def policies_program(self) -> Path:
        """A link to the cached engine that enforces NetworkPolicies, in a lab that has one."""
        return self.state_dir / "policies"

    @property
    def contour_dir(self) -> Path:
        """A link to the cached controller of Ingresses and of the Gateway API, in a lab that has one."""
        return self.state_dir / "contour"

    @property
    def envoy_dir(self) -> Path:
        """A link to the cached Envoy, in such a lab."""
        return self.state_dir / "envoy"

    @property
    def ready_file(self) -> Path:
        """Written last by `up`: its absence means a half-made lab."""
        return self.run_dir / "ready.json"

    @property
    def cgroups_file(self) -> Path:
        """The control groups of this lab, one directory a line, written before the first is made."""
        return self.run_dir / "cgroups"

    @property
    def homes_dir(self) -> Path:
        """The ordinary users' private homes on the laptop, as the machine sees them."""
        return self.state_dir / "home" / self.laptop_name

    @property
    def server_url(self) -> str:
        return f"https://{NODE_IPV4}:{API_PORT}"
