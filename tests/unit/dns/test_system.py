from ipaddress import IPv4Address, ip_network

import pytest

from ktpy.dns.system import REVERSE_DOMAINS_MAX, cluster_domain_in, resolver_request, reverse_domains, server_address


@pytest.mark.parametrize(
    ("search", "domain"),
    [
        (["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"], "cluster.local"),
        (["corp.example", "shop.svc.K8s.Example.org."], "k8s.example.org"),
        (["svc.example", "a.svc"], "cluster.local"),
        ([], "cluster.local"),
    ],
)
def test_the_cluster_domain_follows_svc_in_a_pods_search_list(search: list[str], domain: str) -> None:
    assert cluster_domain_in(search) == domain


@pytest.mark.parametrize(("kind", "address"), [("systemd-resolved", "198.18.3.1"), ("resolv.conf", "127.18.3.53")])
def test_where_the_name_server_listens(kind: str, address: str) -> None:
    assert server_address(kind, 3, IPv4Address("198.18.3.1")) == IPv4Address(address)


def test_the_search_list_is_a_pods() -> None:
    wanted = resolver_request(IPv4Address("127.18.0.53"), "cluster.local", "shop")
    assert wanted.search == ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert wanted.nameservers == (IPv4Address("127.18.0.53"),)
    assert wanted.cluster_domain == "cluster.local"


def test_extra_zones_and_reverse_zones_are_routed_but_not_searched() -> None:
    wanted = resolver_request(
        IPv4Address("198.18.0.1"),
        "cluster.local",
        "shop",
        extra_zones=["~Corp.", "lab.example"],
        routed=[ip_network("10.96.0.0/16"), ip_network("fd96::/16")],
    )
    assert wanted.routing_domains == ("corp", "lab.example", "svc", "96.10.in-addr.arpa", "6.9.d.f.ip6.arpa")


def test_too_many_reverse_zones_become_fewer_and_wider() -> None:
    networks = [ip_network(f"10.{second}.{third}.0/24") for second in range(3) for third in range(100)]
    assert len(reverse_domains(networks[:REVERSE_DOMAINS_MAX])) == REVERSE_DOMAINS_MAX
    assert reverse_domains(networks) == ("0.10.in-addr.arpa", "1.10.in-addr.arpa", "2.10.in-addr.arpa")


def test_a_zone_within_another_is_not_listed_twice() -> None:
    networks = [ip_network("10.96.0.0/16"), ip_network("10.96.5.0/24")]
    assert reverse_domains(networks) == ("96.10.in-addr.arpa",)


def test_of_a_named_cluster_nothing_is_appended() -> None:
    wanted = resolver_request(IPv4Address("198.18.1.1"), "east", "shop", is_known_as=True)
    assert (wanted.search, wanted.routing_domains, wanted.cluster_domain) == ((), ("pod.east", "svc.east"), "east")
