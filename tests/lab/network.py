"""The lab's network: a node and a laptop joined by a veth pair, and to nothing else.

Neither has a default route. The laptop reaches the node's own addresses and nothing behind them: a packet for a pod or
a service that misses ktpy's TUN dies on the laptop. Further laptops have a cable each, and reach the API server only.
"""

import subprocess
from pathlib import Path

from tests.lab.layout import (
    API_PORT,
    FIRST_LAPTOP,
    FURTHER_IPV4,
    FURTHER_IPV6,
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
from tests.lab.namespaces import inside_netns

LINK = "eth0"  # on both ends, as on any machine
FURTHER_LINKS = "laptop"  # and a number: further laptops' cables, at the node's end
HOME_BRIDGE = "home0"
LONG_LINE = "long0"
POLICY_QUEUE = 100  # in go/policies/main.go, too


def _ip(netns: str, commands: list[str]) -> None:
    """One `ip -batch` instead of a process per line."""
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(commands), text=True, check=True)


def create(layout: Layout) -> None:
    """Make both namespaces and the link between them."""
    for netns in (layout.node_netns, layout.laptop_netns):
        subprocess.run(["ip", "netns", "add", netns], check=True)
    _lay_cable(layout)
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

    _admit_further_laptops_to_the_api(layout)


def _lay_cable(layout: Layout) -> None:
    subprocess.run(
        ["ip", "link", "add", _node_link(layout), "netns", layout.node_netns, "type", "veth",
         "peer", "name", LINK, "netns", layout.laptop_netns],
        check=True,
    )  # fmt: skip


def _node_link(layout: Layout) -> str:
    return LINK if layout.laptop == FIRST_LAPTOP else f"{FURTHER_LINKS}{layout.laptop}"


def _admit_further_laptops_to_the_api(layout: Layout) -> None:
    """And to nothing else of the node, nor behind it, whatever routes somebody may set on them.

    Before kube-proxy's rules, which would accept what goes to a service.
    """
    for restore, node in (("iptables-restore", NODE_IPV4), ("ip6tables-restore", NODE_IPV6)):
        others = (f"-p tcp ! --dport {API_PORT}", f"-p tcp ! --destination {node}", "-p udp")
        _add_to_mangle(layout, restore, [f"PREROUTING -i {FURTHER_LINKS}+ {other} -j DROP" for other in others])


def have_policies_enforced(layout: Layout) -> None:
    """Put what begins a connection with a pod to the engine that judges it; all passes while that does not run."""
    for restore in ("iptables-restore", "ip6tables-restore"):
        queue = f"NFQUEUE --queue-num {POLICY_QUEUE} --queue-bypass"
        _add_to_mangle(layout, restore, [f"FORWARD -m conntrack --ctstate NEW -j {queue}"])


def _add_to_mangle(layout: Layout, restore: str, rules: list[str]) -> None:
    text = "".join(f"-A {rule}\n" for rule in rules)
    command = ["nsenter", f"--net={layout.node_netns_path}", restore, "--noflush", "-w"]
    subprocess.run(command, input=f"*mangle\n{text}COMMIT\n", text=True, check=True)


def create_further(layout: Layout) -> None:
    """Make the namespace of one more laptop, and its cable to the node."""
    subprocess.run(["ip", "netns", "add", layout.laptop_netns], check=True)
    _lay_cable(layout)
    link, number = _node_link(layout), layout.laptop
    with inside_netns(layout.node_netns_path):
        _keep_addresses_while_down(link)
    _ip(layout.node_netns, [f"link set {link} up", *_addresses(number, 1, link)])
    _ip(
        layout.laptop_netns,
        [
            "link set lo up",
            f"link set {LINK} up",
            *_addresses(number, 2, LINK),
            f"route add {NODE_IPV4} via {FURTHER_IPV4.format(number=number, end=1)}",
            f"route add {NODE_IPV6} via {FURTHER_IPV6.format(number=number, end=1)}",
        ],
    )


def _addresses(number: int, end: int, link: str) -> list[str]:
    ipv4, ipv6 = (form.format(number=number, end=end) for form in (FURTHER_IPV4, FURTHER_IPV6))
    return [
        f"addr add {ipv4}/{LINK_IPV4_PREFIX_LENGTH} dev {link}",
        f"addr add {ipv6}/{LINK_IPV6_PREFIX_LENGTH} dev {link} nodad",
    ]


def delete_laptop(layout: Layout) -> None:
    """Remove this laptop's namespace, if it is there, and its cable: both ends at once, unlike with the namespace."""
    subprocess.run(
        ["ip", "-n", layout.node_netns, "link", "delete", _node_link(layout)], capture_output=True, check=False
    )
    if layout.laptop_netns_path.exists():
        subprocess.run(["ip", "netns", "delete", layout.laptop_netns], check=True)


def delete(layout: Layout) -> None:
    """Remove all namespaces, whichever of them are there; the links go with them."""
    for path in (layout.node_netns_path, *layout.laptop_netns_paths):
        if path.exists():
            subprocess.run(["ip", "netns", "delete", path.name], check=True)


NODE_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}


def apply_node_sysctls() -> None:
    """Run on the node (these settings belong to its network namespace)."""
    for name, value in NODE_SYSCTLS.items():
        (Path("/proc/sys") / name).write_text(value)
    _keep_addresses_while_down(LINK)


def _keep_addresses_while_down(link: str) -> None:
    """A cut link keeps its IPv6 addresses, as it keeps IPv4's. Run in the node's network namespace."""
    Path(f"/proc/sys/net/ipv6/conf/{link}/keep_addr_on_down").write_text("1")


def set_link(layout: Layout, *, up: bool) -> None:
    """Plug the cable in or out, at the node's end: the laptop's interface loses its carrier."""
    _ip(layout.node_netns, [f"link set {_node_link(layout)} {'up' if up else 'down'}"])


def lay_long_line(layout: Layout, mtu: int) -> None:
    """Lead what laptop and node send each other over their ends of the long line. The routes go with the devices."""
    ends = (
        (layout.laptop_netns, (NODE_IPV4, LAPTOP_IPV4), (NODE_IPV6, LAPTOP_IPV6)),
        (layout.node_netns, (LAPTOP_IPV4, NODE_IPV4), (LAPTOP_IPV6, NODE_IPV6)),
    )
    for netns, *routes in ends:
        device = f"link set {LONG_LINE} up mtu {mtu} txqueuelen 10000"
        _ip(netns, [device, *(f"route add {other} dev {LONG_LINE} src {own}" for other, own in routes)])
