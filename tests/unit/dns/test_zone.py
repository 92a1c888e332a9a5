"""The Kubernetes DNS specification 1.1.0 as a table, then what it leaves open."""

from ipaddress import ip_network
from typing import NamedTuple

import pytest

from ktpy.dns.records import Elsewhere, Rcode, RRType, Soa, Srv, ZoneAnswer, dashed, packed
from ktpy.dns.zone import CNAME_CHAIN_MAX, TTL_S, Zone
from tests.unit.dns.kube import endpoint_slice, external_name, service

A, AAAA, SRV, PTR, CNAME, TXT, SOA, NS, ANY = (
    RRType.A,
    RRType.AAAA,
    RRType.SRV,
    RRType.PTR,
    RRType.CNAME,
    RRType.TXT,
    RRType.SOA,
    RRType.NS,
    RRType.ANY,
)
MX = 15
DOMAIN = "cluster.local"
NXDOMAIN, NODATA = "NXDOMAIN", "NODATA"


@pytest.fixture
def zone() -> Zone:
    """A dual-stack service, an IPv4 one, headless ones with names and without, an alias; two namespaces."""
    zone = Zone(DOMAIN, extra_zones=["corp"])
    zone.set_routed([ip_network("10.96.0.0/16"), ip_network("10.244.0.0/16"), ip_network("fd96::/108")])
    web_ports = (("http", "TCP", 80), ("dns", "UDP", 53), ("dns-tcp", "TCP", 53))
    zone.upsert_service(service("web", "shop", "10.96.0.7", "fd96::7", ports=web_ports))
    zone.upsert_endpoint_slice(endpoint_slice("web", "shop", ("10.244.0.9", None)))
    zone.upsert_service(service("plain", "shop", "10.96.0.8", ports=((None, "TCP", 80),)))
    zone.upsert_service(service("db", "shop", ports=(("pg", "TCP", 5432),)))
    zone.upsert_endpoint_slice(
        endpoint_slice(
            "db",
            "shop",
            ("10.244.0.5", "db-0"),
            ("10.244.0.6", None),
            ("10.244.0.99", "db-9", False),
            ports=(("pg", "TCP", 15432),),
        )
    )
    zone.upsert_endpoint_slice(
        endpoint_slice("db", "shop", ("fd44::5", "db-0"), ports=(("pg", "TCP", 15432),), suffix="v6")
    )
    zone.upsert_service(service("empty"))
    zone.upsert_service(service("eager", publishNotReadyAddresses=True))
    zone.upsert_endpoint_slice(endpoint_slice("eager", "shop", ("10.244.0.20", None, False)))
    zone.upsert_service(external_name("out", "db.example.com"))
    zone.upsert_service(external_name("alias", "web.shop.svc.cluster.local"))
    zone.upsert_service(external_name("dangling", "gone.shop.svc.cluster.local"))
    zone.upsert_service(external_name("custom", "printer.cluster.local"))
    zone.upsert_service(external_name("literal", "192.0.2.1"))
    zone.upsert_service(service("kubernetes", "default", "10.96.0.1", ports=(("https", "TCP", 443),)))
    zone.synced = True
    return zone


class Case(NamedTuple):
    name: str
    qtype: int
    expected: object


def summary(found: ZoneAnswer | Elsewhere) -> object:
    """An answer as a set of its data; a negative one as NXDOMAIN or NODATA."""
    if isinstance(found, Elsewhere):
        return found
    if found.rcode == Rcode.NXDOMAIN and not found.answers:
        return NXDOMAIN
    if found.rcode == Rcode.NOERROR and not found.answers:
        return NODATA
    return {text(record.data) for record in found.answers}


def text(data: object) -> object:
    return dashed(data) if isinstance(data, bytes) else data


SHOP = "shop.svc.cluster.local"

SPECIFICATION = [
    # 2.2 schema version
    Case("dns-version.cluster.local", TXT, {"1.1.0"}),
    # 2.3.1 cluster IP: A, AAAA
    Case(f"web.{SHOP}", A, {"10-96-0-7"}),
    Case(f"web.{SHOP}", AAAA, {"fd96--7"}),
    Case("kubernetes.default.svc.cluster.local", A, {"10-96-0-1"}),
    # 2.3.2 cluster IP: SRV of named ports only
    Case(f"_http._tcp.web.{SHOP}", SRV, {Srv(0, 50, 80, f"web.{SHOP}")}),
    Case(f"_dns._udp.web.{SHOP}", SRV, {Srv(0, 50, 53, f"web.{SHOP}")}),
    Case(f"_dns._tcp.web.{SHOP}", SRV, NXDOMAIN),
    Case(f"_http._udp.web.{SHOP}", SRV, NXDOMAIN),
    # 2.3.3 cluster IP: PTR
    Case("7.0.96.10.in-addr.arpa", PTR, {f"web.{SHOP}"}),
    Case(f"7{'.0' * 27}.6.9.d.f.ip6.arpa", PTR, {f"web.{SHOP}"}),
    # 2.4.1 headless: A and AAAA of ready endpoints; none ready: NXDOMAIN
    Case(f"db.{SHOP}", A, {"10-244-0-5", "10-244-0-6"}),
    Case(f"db.{SHOP}", AAAA, {"fd44--5"}),
    Case(f"empty.{SHOP}", A, NXDOMAIN),
    Case(f"eager.{SHOP}", A, {"10-244-0-20"}),
    Case(f"db-0.db.{SHOP}", A, {"10-244-0-5"}),
    Case(f"db-0.db.{SHOP}", AAAA, {"fd44--5"}),
    Case(f"10-244-0-6.db.{SHOP}", A, {"10-244-0-6"}),
    Case(f"10-244-0-5.db.{SHOP}", A, NXDOMAIN),  # it has a hostname, which goes first
    Case(f"db-9.db.{SHOP}", A, NXDOMAIN),  # not ready
    # 2.4.2 headless: SRV, one for each endpoint and port
    Case(
        f"_pg._tcp.db.{SHOP}",
        SRV,
        {
            Srv(0, 33, 15432, f"db-0.db.{SHOP}"),  # one of two addresses
            Srv(0, 33, 15432, f"10-244-0-6.db.{SHOP}"),
        },
    ),
    Case(f"_pg._tcp.empty.{SHOP}", SRV, NXDOMAIN),
    # 2.4.3 headless: PTR
    Case("5.0.244.10.in-addr.arpa", PTR, {f"db-0.db.{SHOP}"}),
    Case("6.0.244.10.in-addr.arpa", PTR, {f"10-244-0-6.db.{SHOP}"}),
    # 2.5 ExternalName
    Case(f"out.{SHOP}", A, {"db.example.com"}),
    Case(f"out.{SHOP}", CNAME, {"db.example.com"}),
]

BEYOND_THE_SPECIFICATION = [
    # RFC 2308, RFC 8020: a name above existing ones exists
    Case("cluster.local", A, NODATA),
    Case("svc.cluster.local", A, NODATA),
    Case("pod.cluster.local", A, NODATA),
    Case(SHOP, A, NODATA),
    Case(f"_udp.db.{SHOP}", SRV, NXDOMAIN),
    Case(f"_tcp.plain.{SHOP}", SRV, NXDOMAIN),
    Case("dns-version.cluster.local", A, NODATA),
    Case(f"web.{SHOP}", MX, NODATA),
    Case(f"plain.{SHOP}", AAAA, NODATA),
    Case("7.0.96.10.in-addr.arpa", A, NODATA),
    # absent
    Case(f"gone.{SHOP}", A, NXDOMAIN),
    Case("web.nowhere.svc.cluster.local", A, NXDOMAIN),
    Case(f"a.b.web.{SHOP}", A, NXDOMAIN),
    Case(f"a.b.c.web.{SHOP}", A, NXDOMAIN),
    Case(f"x.out.{SHOP}", A, NXDOMAIN),
    Case(f"literal.{SHOP}", A, NXDOMAIN),
    Case(f"we\\046b.{SHOP}", A, NXDOMAIN),
    # as CoreDNS: endpoints of a service with a cluster IP; all ports of a service; pods
    Case(f"10-244-0-9.web.{SHOP}", A, {"10-244-0-9"}),
    Case("9.0.244.10.in-addr.arpa", PTR, {f"10-244-0-9.web.{SHOP}"}),
    Case(f"plain.{SHOP}", SRV, {Srv(0, 100, 80, f"plain.{SHOP}")}),
    Case("10-244-0-77.shop.pod.cluster.local", A, {"10-244-0-77"}),
    Case("fd44--77.shop.pod.cluster.local", AAAA, {"fd44--77"}),
    Case("10-244-0-77.shop.pod.cluster.local", AAAA, NODATA),
    Case("shop.pod.cluster.local", A, NODATA),
    Case("web.shop.pod.cluster.local", A, NXDOMAIN),
    Case("x.10-244-0-77.shop.pod.cluster.local", A, NXDOMAIN),
    Case(f"_tcp.web.{SHOP}", A, NXDOMAIN),
    Case(f"_udp.web.{SHOP}", SRV, NXDOMAIN),
    Case(f"_http._tcp.web.{SHOP}", A, {"10-96-0-7"}),
    Case(f"_http._tcp.web.{SHOP}", AAAA, {"fd96--7"}),
    Case(f"_http._tcp.web.{SHOP}", TXT, NODATA),
    Case(f"_http._udp.web.{SHOP}", A, NXDOMAIN),
    Case(f"http.tcp.web.{SHOP}", A, {"10-96-0-7"}),
    Case(f"_pg._tcp.db.{SHOP}", A, {"10-244-0-5", "10-244-0-6"}),
    Case(f"_._tcp.plain.{SHOP}", SRV, {Srv(0, 100, 80, f"plain.{SHOP}")}),
    Case(f"_x._tcp.plain.{SHOP}", SRV, NXDOMAIN),
    Case(f"db-0.db.{SHOP}", SRV, {Srv(0, 50, 15432, f"db-0.db.{SHOP}")}),
    Case(f"10-244-0-6.db.{SHOP}", SRV, {Srv(0, 100, 15432, f"10-244-0-6.db.{SHOP}")}),
    Case(f"gone.db.{SHOP}", SRV, NXDOMAIN),
    Case(
        f"web.{SHOP}",
        SRV,
        {Srv(0, 16, 80, f"web.{SHOP}"), Srv(0, 16, 53, f"web.{SHOP}")},  # three ports with two addresses each
    ),
    *(Case(name, ANY, NODATA) for name in (f"web.{SHOP}", f"db-0.db.{SHOP}", f"out.{SHOP}", SHOP, "cluster.local")),
    Case(f"gone.{SHOP}", ANY, NXDOMAIN),
    # aliases within the zone
    *(Case(f"{alias}.{SHOP}", qtype, NODATA) for alias in ("alias", "out") for qtype in (SRV, TXT, MX, 65)),
    Case(f"_http._tcp.alias.{SHOP}", SRV, NXDOMAIN),
    Case(f"alias.{SHOP}", A, {f"web.{SHOP}", "10-96-0-7"}),
    Case(f"alias.{SHOP}", CNAME, {f"web.{SHOP}"}),
    # as if the cluster domain followed
    Case("web.shop.svc", A, {"10-96-0-7"}),
    Case("WEB.shop.svc.", AAAA, {"fd96--7"}),
    Case("db-0.db.shop.svc", A, {"10-244-0-5"}),
    Case("_http._tcp.web.shop.svc", SRV, {Srv(0, 50, 80, f"web.{SHOP}")}),
    Case("alias.shop.svc", A, {f"web.{SHOP}", "10-96-0-7"}),
    Case("gone.shop.svc", A, NXDOMAIN),
    Case("shop.svc", A, NODATA),
    Case("svc", A, NODATA),
    Case("nowhere.svc", A, {"nowhere.svc.cluster.local"}),  # an alias, for the cluster to resolve
    Case("xsvc", A, Elsewhere.NOT_OURS),
    # others decide
    Case("printer.cluster.local", A, Elsewhere.ASK_CLUSTER),
    Case("a.b.cluster.local", A, Elsewhere.ASK_CLUSTER),
    Case("nowhere.svc.cluster.local", A, Elsewhere.ASK_CLUSTER),  # a namespace may be without Services
    Case("cluster.local", NS, Elsewhere.ASK_CLUSTER),
    Case(f"eu-1.pin._zone.db.{SHOP}", A, Elsewhere.ASK_CLUSTER),
    Case("10-0-0-1.nowhere.pod.cluster.local", A, Elsewhere.ASK_CLUSTER),
    Case("corp", A, Elsewhere.ASK_CLUSTER),
    Case("git.corp", A, Elsewhere.ASK_CLUSTER),
    Case("44.0.244.10.in-addr.arpa", PTR, Elsewhere.ASK_CLUSTER),
    Case("0.244.10.in-addr.arpa", SOA, Elsewhere.ASK_CLUSTER),
    Case("99.0.244.10.in-addr.arpa", PTR, Elsewhere.ASK_CLUSTER),  # known, but not ready
    Case("1.2.0.192.in-addr.arpa", PTR, Elsewhere.NOT_OURS),
    Case(f"8{'.0' * 27}.7.9.d.f.ip6.arpa", PTR, Elsewhere.NOT_OURS),
    Case("example.com", A, Elsewhere.NOT_OURS),
    Case("web", A, Elsewhere.NOT_OURS),
    Case("notcluster.local", A, Elsewhere.NOT_OURS),
    Case("xcorp", A, Elsewhere.NOT_OURS),
    Case("", A, Elsewhere.NOT_OURS),
]


@pytest.mark.parametrize("case", SPECIFICATION, ids=lambda case: f"{case.name}/{case.qtype}")
def test_the_specification(zone: Zone, case: Case) -> None:
    assert summary(zone.lookup(case.name, case.qtype)) == case.expected


@pytest.mark.parametrize("case", BEYOND_THE_SPECIFICATION, ids=lambda case: f"{case.name}/{case.qtype}")
def test_beyond_the_specification(zone: Zone, case: Case) -> None:
    assert summary(zone.lookup(case.name, case.qtype)) == case.expected


def answer(zone: Zone, name: str, qtype: int) -> ZoneAnswer:
    found = zone.lookup(name, qtype)
    assert isinstance(found, ZoneAnswer)
    return found


@pytest.mark.parametrize("name", [f"WEB.Shop.SVC.Cluster.Local{dot}" for dot in ("", ".")])
def test_names_compare_without_case_and_final_dot(zone: Zone, name: str) -> None:
    assert summary(zone.lookup(name, A)) == {"10-96-0-7"}


def test_a_name_of_ktpys_own_has_its_address_and_nothing_else(zone: Zone) -> None:
    zone.own_names["host.ktpy.internal"] = packed("198.19.255.254")
    assert summary(zone.lookup("Host.ktpy.internal.", A)) == {"198-19-255-254"}
    assert summary(zone.lookup("host.ktpy.internal", AAAA)) == NODATA
    assert zone.lookup("other.ktpy.internal", A) is Elsewhere.NOT_OURS


def test_another_cluster_domain() -> None:
    zone = Zone("K8s.Example.org.")
    zone.upsert_service(service("web", "shop", "10.96.0.7"))
    zone.synced = True
    assert summary(zone.lookup("web.shop.svc.k8s.example.org", A)) == {"10-96-0-7"}
    assert zone.lookup(f"web.{SHOP}", A) is Elsewhere.NOT_OURS


# --- what comes along


@pytest.mark.parametrize("name", [f"gone.{SHOP}", SHOP])
def test_negative_answers_carry_the_soa_that_limits_them(zone: Zone, name: str) -> None:
    [soa] = answer(zone, name, A).authority
    assert (soa.name, soa.rtype, soa.ttl_s) == (DOMAIN, SOA, TTL_S)
    assert isinstance(soa.data, Soa)
    assert soa.data.minimum_s == TTL_S


def test_the_soa_of_a_reverse_name_claims_no_more_than_this_name(zone: Zone) -> None:
    [soa] = answer(zone, "7.0.96.10.in-addr.arpa", A).authority
    assert soa.name == "7.0.96.10.in-addr.arpa"


def test_the_apex_has_the_soa_record(zone: Zone) -> None:
    [soa] = answer(zone, DOMAIN, SOA).answers
    assert soa.rtype == SOA


def test_srv_records_bring_the_addresses_of_their_targets(zone: Zone) -> None:
    found = answer(zone, f"_pg._tcp.db.{SHOP}", SRV)
    assert {(record.name, text(record.data)) for record in found.additional} == {
        (f"db-0.db.{SHOP}", "10-244-0-5"),
        (f"db-0.db.{SHOP}", "fd44--5"),
        (f"10-244-0-6.db.{SHOP}", "10-244-0-6"),
    }


# --- aliases


def test_an_alias_that_leaves_the_zone_says_where_to(zone: Zone) -> None:
    assert answer(zone, f"out.{SHOP}", A).unfinished == "db.example.com"
    assert answer(zone, f"custom.{SHOP}", A).unfinished == "printer.cluster.local"
    assert answer(zone, f"out.{SHOP}", CNAME).unfinished is None


def test_the_code_of_an_alias_is_that_of_its_last_name(zone: Zone) -> None:
    found = answer(zone, f"dangling.{SHOP}", A)
    assert found.rcode == Rcode.NXDOMAIN  # RFC 6604
    assert [record.rtype for record in found.answers] == [CNAME]
    assert found.authority


def test_an_alias_without_data_at_its_end_has_the_soa(zone: Zone) -> None:
    zone.upsert_service(external_name("alias4", f"plain.{SHOP}"))
    found = answer(zone, f"alias4.{SHOP}", AAAA)
    assert found.rcode == Rcode.NOERROR
    assert found.authority


def test_aliases_in_a_circle_fail(zone: Zone) -> None:
    zone.upsert_service(external_name("a", f"b.{SHOP}"))
    zone.upsert_service(external_name("b", f"a.{SHOP}"))
    assert answer(zone, f"a.{SHOP}", A).rcode == Rcode.SERVFAIL


def test_a_chain_as_long_as_is_followed(zone: Zone) -> None:
    for step in range(CNAME_CHAIN_MAX):
        target = f"step{step + 1}.{SHOP}" if step + 1 < CNAME_CHAIN_MAX else f"web.{SHOP}"
        zone.upsert_service(external_name(f"step{step}", target))
    assert text(answer(zone, f"step0.{SHOP}", A).answers[-1].data) == "10-96-0-7"


# --- who is authoritative


def test_nothing_is_decided_before_the_first_listing_is_complete(zone: Zone) -> None:
    zone.synced = False
    for name in (f"web.{SHOP}", f"gone.{SHOP}", SHOP, DOMAIN, "7.0.96.10.in-addr.arpa"):
        assert zone.lookup(name, A) is Elsewhere.ASK_CLUSTER


def test_with_a_scope_only_its_namespaces_are_decided_here(zone: Zone) -> None:
    zone.set_scope({"shop"})
    assert summary(zone.lookup(f"web.{SHOP}", A)) == {"10-96-0-7"}
    assert summary(zone.lookup(f"gone.{SHOP}", A)) == NXDOMAIN
    assert summary(zone.lookup("svc.cluster.local", A)) == NODATA
    for name in (
        "kubernetes.default.svc.cluster.local",
        "default.svc.cluster.local",
        "10-0-0-1.default.pod.cluster.local",
    ):
        assert zone.lookup(name, A) is Elsewhere.ASK_CLUSTER
    zone.set_scope(None)
    assert summary(zone.lookup("kubernetes.default.svc.cluster.local", A)) == {"10-96-0-1"}


# --- changes


def test_a_deleted_service_is_gone_with_its_reverse_name(zone: Zone) -> None:
    zone.delete_service("shop", "web")
    assert summary(zone.lookup(f"web.{SHOP}", A)) == NXDOMAIN
    assert zone.lookup("7.0.96.10.in-addr.arpa", PTR) is Elsewhere.ASK_CLUSTER
    assert zone.lookup("9.0.244.10.in-addr.arpa", PTR) is Elsewhere.ASK_CLUSTER


def test_an_endpoint_in_two_slices_at_once_is_one_record(zone: Zone) -> None:
    zone.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.5", "db-0"), suffix="b"))
    addresses = [record.data for record in answer(zone, f"db.{SHOP}", A).answers]
    assert sorted(addresses) == [packed("10.244.0.5"), packed("10.244.0.6")]
    zone.delete_endpoint_slice("shop", "db-b")
    assert summary(zone.lookup("5.0.244.10.in-addr.arpa", PTR)) == {f"db-0.db.{SHOP}"}


def test_a_pod_behind_two_services_has_two_reverse_names(zone: Zone) -> None:
    zone.upsert_service(service("replica"))
    zone.upsert_endpoint_slice(endpoint_slice("replica", "shop", ("10.244.0.5", "db-0")))
    assert summary(zone.lookup("5.0.244.10.in-addr.arpa", PTR)) == {f"db-0.db.{SHOP}", f"db-0.replica.{SHOP}"}


def test_a_namespace_goes_with_its_last_object(zone: Zone) -> None:
    zone.delete_service("default", "kubernetes")
    assert summary(zone.lookup("default.svc.cluster.local", A)) is Elsewhere.ASK_CLUSTER
    assert zone.lookup("10-0-0-1.default.pod.cluster.local", A) is Elsewhere.ASK_CLUSTER


def test_a_name_under_svc_that_only_the_cluster_knows_is_an_alias_of_it(zone: Zone) -> None:
    zone.set_scope({"shop"})
    found = answer(zone, "web.elsewhere.svc", A)
    assert found.unfinished == "web.elsewhere.svc.cluster.local"
    zone.synced = False
    assert answer(zone, "web.shop.svc", A).unfinished == f"web.{SHOP}"


def test_the_soa_of_a_name_under_svc_is_above_it(zone: Zone) -> None:
    [soa] = answer(zone, "gone.shop.svc", A).authority
    assert soa.name == "svc"


def test_stand_ins_are_what_names_lead_to_and_what_has_names(zone: Zone) -> None:
    before = zone.generation
    for network, stand_in in (
        ("10.96.0.0/16", "240.0.0.0/16"),
        ("fd96::/108", "fd6b:7472::/108"),
        ("10.244.0.0/24", "240.1.0.0/24"),
    ):
        zone.stand_ins.add(ip_network(network), ip_network(stand_in))
    zone.set_routed([ip_network("240.0.0.0/16"), ip_network("240.1.0.0/24")])
    assert zone.generation > before
    for name, kind, expected in (
        (f"web.{SHOP}", A, {"240-0-0-7"}),
        (f"web.{SHOP}", AAAA, {"fd6b-7472--7"}),
        (f"alias.{SHOP}", A, {f"web.{SHOP}", "240-0-0-7"}),
        (f"db.{SHOP}", A, {"240-1-0-5", "240-1-0-6"}),
        # pods are called what the cluster calls them
        (f"10-244-0-6.db.{SHOP}", A, {"240-1-0-6"}),
        (f"10-244-0-9.shop.pod.{DOMAIN}", A, {"240-1-0-9"}),
        ("7.0.0.240.in-addr.arpa", PTR, {f"web.{SHOP}"}),
        ("6.0.1.240.in-addr.arpa", PTR, {f"10-244-0-6.db.{SHOP}"}),
    ):
        assert summary(zone.lookup(name, kind)) == expected, name
    found = zone.lookup(f"_pg._tcp.db.{SHOP}", SRV)
    assert isinstance(found, ZoneAnswer)
    assert {record.data for record in found.additional} == {*map(packed, ("240.1.0.5", "240.1.0.6", "fd44::5"))}
    # as they stand they are a local network's, and what the zone does not know the cluster may
    assert zone.lookup("7.0.96.10.in-addr.arpa", PTR) is Elsewhere.NOT_OURS
    unknown = zone.lookup("44.0.1.240.in-addr.arpa", PTR)
    assert isinstance(unknown, ZoneAnswer)
    assert unknown.unfinished == "44.0.244.10.in-addr.arpa"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.shop.svc.east", A, {"10-96-0-7"}),
        ("db-0.db.shop.svc.east", A, {"10-244-0-5"}),
        ("10-244-0-9.shop.pod.east", A, {"10-244-0-9"}),
        ("7.0.96.10.in-addr.arpa", PTR, {"web.shop.svc.east"}),
        ("gone.shop.svc.east", A, NXDOMAIN),
        ("alias.shop.svc.east", A, {"web.shop.svc.east", "10-96-0-7"}),
        ("dangling.shop.svc.east", A, {"gone.shop.svc.east"}),
        # it may be a domain of the Internet, and the cluster's own names are another cluster's here
        ("web.east", A, Elsewhere.NOT_OURS),
        ("east", SOA, Elsewhere.NOT_OURS),
        (f"web.{SHOP}", A, Elsewhere.NOT_OURS),
        ("web.shop.svc", A, Elsewhere.NOT_OURS),
    ],
)
def test_a_cluster_that_is_known_by_a_name(name: str, kind: int, expected: object) -> None:
    assert summary(named().lookup(name, kind)) == expected


@pytest.mark.parametrize(
    ("name", "unfinished", "is_inside"),
    [
        ("web.unseen.svc.east", "web.unseen.svc.cluster.local", True),
        ("custom.shop.svc.east", "printer.cluster.local", True),
        ("out.shop.svc.east", "db.example.com", False),
    ],
)
def test_whom_it_leaves_to_answer(name: str, unfinished: str, is_inside: bool) -> None:
    zone = named()
    zone.set_scope({"shop"})
    found = zone.lookup(name, A)
    assert isinstance(found, ZoneAnswer)
    assert (found.unfinished, found.is_inside) == (unfinished, is_inside)


def named() -> Zone:
    zone = Zone(known_as="east")
    zone.set_domain(DOMAIN)
    zone.upsert_service(service("web", "shop", "10.96.0.7", ports=(("http", "TCP", 80),)))
    zone.upsert_service(service("db", "shop", ports=(("pg", "TCP", 5432),)))
    zone.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.5", "db-0")))
    for alias, target in {
        "alias": f"web.{SHOP}",
        "dangling": f"gone.{SHOP}",
        "custom": "printer.cluster.local",
        "out": "db.example.com",
    }.items():
        zone.upsert_service(external_name(alias, target))
    zone.synced = True
    return zone
