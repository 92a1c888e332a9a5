"""Whether the cluster's DNS answers by its Service's address: kube-proxy's rules stand, and CoreDNS has listed."""

import socket
from pathlib import Path

from dnslib import QTYPE, DNSError, DNSQuestion, DNSRecord

from tests.lab import namespaces
from tests.lab.layout import CLUSTER_DNS_IPV4

TIMEOUT_S = 1.0
DNS_PORT = 53
NAMES = ("kubernetes.default.svc.cluster.local", "a.custom.cluster.local", "a.custom.corp", "v4only.outside.example")
"""One of each zone: of the cluster, of the lab's Corefile, and of the upstream resolver."""


def answers(netns: Path, server: str = CLUSTER_DNS_IPV4, port: int = DNS_PORT) -> bool:
    """Return whether each name has an address, asked over UDP from a network namespace.

    From the node's the rules are the same as for its pods.
    """
    with namespaces.inside_netns(netns):
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
    with datagrams:
        datagrams.settimeout(TIMEOUT_S)
        datagrams.connect((server, port))
        try:
            return all(_has_address(datagrams, name) for name in NAMES)
        except (OSError, DNSError):
            return False


def _has_address(datagrams: socket.socket, name: str) -> bool:
    datagrams.send(bytes(DNSRecord(q=DNSQuestion(name, QTYPE.A)).pack()))
    return any(rr.rtype == QTYPE.A for rr in DNSRecord.parse(datagrams.recv(65535)).rr)
