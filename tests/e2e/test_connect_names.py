"""Every name that resolves in a pod resolves on the laptop, by each way a laptop looks names up; absent ones do not.

`question` asks the server that programs ask for exactly one name; what real programs make of it is shown with getent,
curl and Python's socket module.
"""

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.e2e.kit.laptop import Laptop, raw_question
from tests.e2e.kit.shop import Shop
from tests.lab import Lab
from tests.lab.layout import CLUSTER_DNS_IPV4, RESOLVER_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting

NAMESPACE = "e2e-names"
DOMAIN = "cluster.local"
APPEARS_WITHIN_S = 30.0

Question = Callable[[str, str], DNSRecord]


def external_name(name: str, target: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": target},
    }


@pytest.fixture(scope="module")
def aliases(lab: Lab) -> Iterator[None]:
    """Services in a namespace of their own that are only other names."""
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"empty-{NAMESPACE}"}},
        external_name("inside", f"web.shop.svc.{DOMAIN}"),
        external_name("outside", "outside.example"),
    ]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, f"empty-{NAMESPACE}", "--wait=false")


@pytest.fixture(scope="module", params=["file", "systemd-resolved"])
def connected(lab: Lab, aliases: None, request: pytest.FixtureRequest) -> Iterator[ConnectSession]:
    lab.set_resolver(request.param)
    try:
        with connecting(lab, "--namespace", "shop", "--dns-zone", "custom.corp") as session:
            yield session
            session.quit()
    finally:
        lab.set_resolver("file")


@pytest.fixture(scope="module")
def question(connected: ConnectSession, laptop: Laptop) -> Question:
    server = laptop.name_server()
    return lambda name, kind: laptop.ask(name, kind, server=server)


def data(reply: DNSRecord, kind: str) -> set[str]:
    """What the answer's records of one type say."""
    return {str(record.rdata) for record in reply.rr if record.rtype == getattr(QTYPE, kind)}


def addresses(laptop: Laptop, name: str) -> set[str]:
    """As programs look names up: getaddrinfo, both families."""
    script = "import socket, sys; print(*{entry[4][0] for entry in socket.getaddrinfo(sys.argv[1], 80)})"
    return set(laptop.output("python3", "-c", script, name).split())


# --- services


@pytest.mark.parametrize(
    "name", ["web", "web.shop", "web.shop.svc", f"web.shop.svc.{DOMAIN}", f"web.shop.svc.{DOMAIN}."]
)
def test_a_service_answers_by_every_form_of_its_name(connected: ConnectSession, laptop: Laptop, name: str) -> None:
    assert "web greets you" in laptop.output("curl", "-sS", f"http://{name}/")


def test_a_service_in_another_namespace(connected: ConnectSession, laptop: Laptop) -> None:
    assert laptop.output("getent", "ahostsv4", "kubernetes.default").split()[0] == "10.96.0.1"


def test_a_service_has_addresses_of_both_families(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    web = shop.service("web")
    assert addresses(laptop, "web") == {web.ipv4, web.ipv6}


def test_cluster_and_pod_addresses_of_both_families(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    service, pod = shop.service("web"), next(iter(shop.pods("web").values()))
    for url in (
        f"http://{service.ipv4}/",
        f"http://[{service.ipv6}]/",
        f"http://{pod.ipv4}:8080/",
        f"http://[{pod.ipv6}]:8080/",
    ):
        assert "web greets you" in laptop.output("curl", "-sS", url)


# --- headless services, and their pods


def test_a_headless_name_has_the_addresses_of_all_pods(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    pods = shop.pods("store").values()
    assert addresses(laptop, "store") == {address for pod in pods for address in (pod.ipv4, pod.ipv6)}


@pytest.mark.parametrize("name", ["store-1.store", "store-1.store.shop", f"store-1.store.shop.svc.{DOMAIN}"])
def test_a_pod_of_a_headless_service_by_its_own_name(connected: ConnectSession, laptop: Laptop, name: str) -> None:
    assert laptop.output("curl", "-sS", f"http://{name}:8080/") == "store greets you from pod store-1\n"


# --- SRV and PTR


def test_srv_of_a_service(question: Question) -> None:
    reply = question(f"_http._tcp.web.shop.svc.{DOMAIN}", "SRV")
    assert data(reply, "SRV") == {f"0 50 80 web.shop.svc.{DOMAIN}."}


def test_srv_of_a_headless_service_names_each_pod(question: Question) -> None:
    reply = question(f"_http._tcp.store.shop.svc.{DOMAIN}", "SRV")
    assert data(reply, "SRV") == {f"0 25 8080 store-{number}.store.shop.svc.{DOMAIN}." for number in (0, 1)}


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_addresses_have_names(question: Question, shop: Shop, family: str) -> None:
    for address, name in (
        (getattr(shop.service("web"), family), f"web.shop.svc.{DOMAIN}."),
        (getattr(shop.pod("store-0"), family), f"store-0.store.shop.svc.{DOMAIN}."),
    ):
        assert data(question(ip_address(address).reverse_pointer, "PTR"), "PTR") == {name}


def test_programs_see_the_name_of_an_address(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    output = laptop.output("getent", "hosts", shop.service("web").ipv4)
    assert output.split()[1] == f"web.shop.svc.{DOMAIN}"


def beside_the_clusters_dns() -> list[tuple[str, str]]:
    """Questions that the specification leaves open, and a few that it does not."""
    shop = f"shop.svc.{DOMAIN}"
    names = [
        *(f"web.{shop}", f"store.{shop}", f"store-0.store.{shop}", f"gone.store.{shop}", f"gone.{shop}"),
        *(f"_http._tcp.web.{shop}", f"_tcp.web.{shop}", f"_gone._tcp.web.{shop}", f"_http._tcp.store.{shop}"),
        *(f"a.b.c.web.{shop}", shop, f"svc.{DOMAIN}", f"empty-{NAMESPACE}.svc.{DOMAIN}", f"gone.svc.{DOMAIN}"),
        *(f"web.empty-{NAMESPACE}.svc.{DOMAIN}", f"inside.{NAMESPACE}.svc.{DOMAIN}"),
    ]
    return [(name, kind) for name in names for kind in ("A", "AAAA", "SRV", "ANY", "MX")]


def told(reply: DNSRecord) -> tuple[str, set[str], set[str]]:
    shown = [
        {f"{record.rname} {record.rtype} {record.rdata}".lower() for record in part} for part in (reply.rr, reply.ar)
    ]
    return RCODE[reply.header.rcode], *shown


def test_answers_are_those_of_the_clusters_dns(connected: ConnectSession, laptop: Laptop) -> None:
    """Asked of ktpy itself: systemd-resolved's stub adds to an alias what it knows of other questions."""
    own = connected.status()["dns"]["address"]
    different = {}
    for name, kind in beside_the_clusters_dns():
        ours = told(laptop.ask(name, kind, server=own))
        theirs = told(laptop.ask(name, kind, server=CLUSTER_DNS_IPV4, tcp=True))
        if ours != theirs:
            different[name, kind] = ours, theirs
    assert not different


# --- names that are other names


def test_an_external_name_inside_the_cluster(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    assert "web greets you" in laptop.output("curl", "-sS", f"http://inside.{NAMESPACE}/")


def test_an_external_name_outside_the_cluster(connected: ConnectSession, question: Question, laptop: Laptop) -> None:
    reply = question(f"outside.{NAMESPACE}.svc.{DOMAIN}", "A")
    assert (data(reply, "CNAME"), data(reply, "A")) == ({"outside.example."}, {"192.0.2.10"})
    assert laptop.output("getent", "ahostsv4", f"outside.{NAMESPACE}").split()[0] == "192.0.2.10"
    assert "192.0.2.10/32" in {entry["network"] for entry in connected.status()["ranges"]}


# --- names that only the cluster's own DNS knows


def test_a_zone_of_the_clusters_dns_under_the_cluster_domain(connected: ConnectSession, laptop: Laptop) -> None:
    assert laptop.output("getent", "ahostsv4", f"a.custom.{DOMAIN}").split()[0] == "192.0.2.7"
    assert laptop.output("getent", "ahostsv4", "a.custom").split()[0] == "192.0.2.7"


def test_a_zone_of_the_clusters_dns_elsewhere(connected: ConnectSession, laptop: Laptop) -> None:
    assert laptop.output("getent", "ahostsv4", "b.custom.corp").split()[0] == "192.0.2.7"


def test_any_type_of_record_in_it(question: Question) -> None:
    assert data(question("b.custom.corp", "TXT"), "TXT") == {'"from the cluster\'s DNS"'}


# --- absent names


@pytest.mark.parametrize(
    "name",
    [f"absent.shop.svc.{DOMAIN}", f"web.absent.svc.{DOMAIN}", f"store-7.store.shop.svc.{DOMAIN}", f"absent.{DOMAIN}"],
)
def test_an_absent_name_does_not_exist(question: Question, name: str) -> None:
    reply = question(name, "A")
    assert (RCODE[reply.header.rcode], reply.rr) == ("NXDOMAIN", [])


def test_programs_are_told_at_once_that_a_name_is_absent(connected: ConnectSession, laptop: Laptop) -> None:
    assert laptop.run(["getent", "hosts", "absent"]).returncode == 2
    assert laptop.run(["curl", "-sS", "--max-time", "4", "http://absent.shop/"]).returncode == 6


def test_a_name_without_ipv6_exists_all_the_same(question: Question, laptop: Laptop, shop: Shop) -> None:
    reply = question(f"catalog.shop.svc.{DOMAIN}", "AAAA")
    assert (RCODE[reply.header.rcode], reply.rr) == ("NOERROR", [])
    assert addresses(laptop, "catalog") == {shop.service("catalog").ipv4}


# --- names of the world outside


def test_outside_names_are_asked_of_the_previous_resolver(connected: ConnectSession, lab: Lab, laptop: Laptop) -> None:
    asked = len(lab.resolver_questions())
    assert addresses(laptop, "v4only.outside.example") == {"192.0.2.11"}
    assert "udp v4only.outside.example. A" in lab.resolver_questions()[asked:]
    assert laptop.output("getent", "hosts", "192.0.2.10").split()[1] == "outside.example"


def test_the_search_list_of_before_still_counts(connected: ConnectSession, laptop: Laptop) -> None:
    assert laptop.output("getent", "ahostsv4", "printer").split()[0] == "192.0.2.20"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("outside.example", "AAAA"),
        ("www.outside.example", "A"),
        ("absent.outside.example", "A"),
        ("outside.example", "MX"),
    ],
)
@pytest.mark.parametrize("edns_bytes", [0, 1232])
def test_answers_about_outside_names_are_unchanged(
    connected: ConnectSession, laptop: Laptop, name: str, kind: str, edns_bytes: int
) -> None:
    """Byte for byte; records, negative answers and EDNS."""
    question = raw_question(name, kind, edns_bytes=edns_bytes)
    through = laptop.exchange(question, connected.status()["dns"]["address"])
    assert through == laptop.exchange(question, RESOLVER_IPV4)


def test_an_answer_too_large_for_udp_comes_over_tcp(connected: ConnectSession, laptop: Laptop) -> None:
    question, server = raw_question("large.outside.example", "TXT"), connected.status()["dns"]["address"]
    over_udp = laptop.exchange(question, server)
    assert (DNSRecord.parse(over_udp).header.tc, len(over_udp) <= 512) == (1, True)
    over_tcp = laptop.exchange(question, server, tcp=True)
    assert len(over_tcp) > 3000
    assert over_tcp == laptop.exchange(question, RESOLVER_IPV4, tcp=True)


# --- changes in the cluster


def test_services_come_and_go_while_connected(connected: ConnectSession, lab: Lab, laptop: Laptop) -> None:
    """Seen at ktpy's own server: systemd-resolved may keep what it was told for the 5 s that the records allow."""
    server = connected.status()["dns"]["address"]

    def rcode() -> str:
        return str(RCODE[laptop.ask(f"newcomer.shop.svc.{DOMAIN}", "A", server=server).header.rcode])

    assert rcode() == "NXDOMAIN"
    lab.kubectl("-n", "shop", "create", "service", "clusterip", "newcomer", "--tcp=80:8080")
    try:
        wait_until(lambda: rcode() == "NOERROR", APPEARS_WITHIN_S, "the new service's name")
    finally:
        lab.kubectl("-n", "shop", "delete", "service", "newcomer", "--wait=false")
    wait_until(lambda: rcode() == "NXDOMAIN", APPEARS_WITHIN_S, "the deleted service's name to go")
