"""The lab's network: a node and a laptop joined by a veth pair, and to nothing else.

Neither has a default route. The laptop reaches the node's own addresses and nothing behind them: a packet for a pod or
a service that misses ktpy's TUN dies on the laptop.
"""

import subprocess
from pathlib import Path

from tests.lab.layout import (
    API_PORT,
    DELAY_PROXY_PORT,
    LAPTOP_IPV4,
    LAPTOP_IPV6,
    LINK_IPV4_PREFIX_LENGTH,
    LINK_IPV6_PREFIX_LENGTH,
    NODE_IPV4,
    NODE_IPV6,
    RESOLVER_IPV4,
    RESOLVER_IPV6,
    SERVICE_IPV4,
    SERVICE_IPV6,
    Layout,
)

LINK = "eth0"  # on both ends, as on any machine
HOME_BRIDGE = "home0"


def _ip(netns: str, commands: list[str]) -> None:
    """One `ip -batch` instead of a process per line."""
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(commands), text=True, check=True)


def create(layout: Layout) -> None:
    """Make both namespaces and the link between them."""
    for netns in (layout.node_netns, layout.laptop_netns):
        subprocess.run(["ip", "netns", "add", netns], check=True)
    subprocess.run(
        ["ip", "link", "add", LINK, "netns", layout.node_netns, "type", "veth",
         "peer", "name", LINK, "netns", layout.laptop_netns],
        check=True,
    )  # fmt: skip
    # An empty bridge holds the node's own addresses, so that they stay when the link is cut, and the route to the
    # service range: without a route a packet to a service never reaches kube-proxy's rules in OUTPUT. (A dummy
    # interface would do the same; not every kernel has it.)
    _ip(
        layout.node_netns,
        [
            "link set lo up",
            f"link add {HOME_BRIDGE} type bridge",
            f"link set {HOME_BRIDGE} up",
            *(f"addr add {address}/32 dev {HOME_BRIDGE}" for address in (NODE_IPV4, RESOLVER_IPV4)),
            *(f"addr add {address}/128 dev {HOME_BRIDGE} nodad" for address in (NODE_IPV6, RESOLVER_IPV6)),
            f"link set {LINK} up",
            *(f"addr add {address}/{LINK_IPV4_PREFIX_LENGTH} dev {LINK}" for address in (NODE_IPV4, RESOLVER_IPV4)),
            *(
                f"addr add {address}/{LINK_IPV6_PREFIX_LENGTH} dev {LINK} nodad"
                for address in (NODE_IPV6, RESOLVER_IPV6)
            ),
            f"route add {SERVICE_IPV4} dev {HOME_BRIDGE} src {NODE_IPV4}",
            f"route add {SERVICE_IPV6} dev {HOME_BRIDGE} src {NODE_IPV6}",
        ],
    )
    _ip(
        layout.laptop_netns,
        [
            "link set lo up",
            f"link set {LINK} up",
            f"addr add {LAPTOP_IPV4}/{LINK_IPV4_PREFIX_LENGTH} dev {LINK}",
            f"addr add {LAPTOP_IPV6}/{LINK_IPV6_PREFIX_LENGTH} dev {LINK} nodad",
        ],
    )


def delete(layout: Layout) -> None:
    """Remove both namespaces, whichever of them are there; the link goes with them."""
    for netns, path in (
        (layout.node_netns, layout.node_netns_path),
        (layout.laptop_netns, layout.laptop_netns_path),
    ):
        if path.exists():
            subprocess.run(["ip", "netns", "delete", netns], check=True)


NODE_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    f"net/ipv6/conf/{LINK}/keep_addr_on_down": "1",  # a cut link keeps its IPv6 addresses, as it keeps IPv4's
}


def apply_node_sysctls() -> None:
    """Run on the node (these settings belong to its network namespace)."""
    for name, value in NODE_SYSCTLS.items():
        (Path("/proc/sys") / name).write_text(value)


def set_link(layout: Layout, *, up: bool) -> None:
    """Plug the cable in or out, at the node's end: the laptop's interface loses its carrier."""
    _ip(layout.node_netns, [f"link set {LINK} {'up' if up else 'down'}"])


def redirect_api(layout: Layout, *, through_proxy: bool) -> None:
    """Send the laptop's new connections to the API server through the delay proxy, or straight again."""
    rule = ["-i", LINK, "-p", "tcp", "--dport", str(API_PORT), "-j", "REDIRECT", "--to-ports", str(DELAY_PROXY_PORT)]
    for iptables in ("iptables", "ip6tables"):
        base = ["nsenter", f"--net={layout.node_netns_path}", iptables, "-w", "-t", "nat"]
        present = subprocess.run([*base, "-C", "PREROUTING", *rule], capture_output=True, check=False).returncode == 0
        if through_proxy and not present:
            subprocess.run([*base, "-I", "PREROUTING", "1", *rule], check=True)
        elif present and not through_proxy:
            subprocess.run([*base, "-D", "PREROUTING", *rule], check=True)
