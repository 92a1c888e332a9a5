"""What is routed and what is not, the options that say so, and the other commands of a connected user."""

import errno
import json
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.workloads import shell_server
from tests.lab import Lab
from tests.lab.layout import API_PORT, NODE_IPV4, POD_IPV4, POD_IPV6, SERVICE_IPV4, SERVICE_IPV6
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import Connecting, ConnectSession

RANGE_OVERLAP, ALREADY_CONNECTED, NOT_CONNECTED, USAGE = 30, 31, 36, 2
SERVICES, PODS = {SERVICE_IPV4, SERVICE_IPV6}, {POD_IPV4, POD_IPV6}
ELSEWHERE = ["203.0.113.0/24", "198.51.100.0/24"]  # nobody's (RFC 5737)
VPN = "10.244.0.192/26"  # a part of the pod range

Network = IPv4Network | IPv6Network


def routed(laptop: Laptop) -> set[Network]:
    """What the kernel sends into ktpy's link, without the link's own network."""
    shown = [laptop.output("ip", "-json", family, "route", "show", "dev", "ktpy0") for family in ("-4", "-6")]
    routes = [route for text in shown for route in json.loads(text)]
    return {ip_network(route["dst"]) for route in routes if route["protocol"] == "static"}


def reported(session: ConnectSession) -> set[Network]:
    return {ip_network(entry["network"]) for entry in session.status()["ranges"]}


def networks(*texts: str) -> set[Network]:
    return set(map(ip_network, texts))


def error_of_connecting(laptop: Laptop, address: str, port: int) -> str:
    with pytest.raises(OSError) as raised, laptop.connection(address, port):
        pass
    return errno.errorcode[raised.value.errno or 0]


@pytest.fixture
def vpn(lab: Lab) -> Iterator[str]:
    """A link of the laptop that leads to addresses which the cluster's pods have too."""
    lab.exec(["ip", "link", "add", "vpn0", "type", "veth", "peer", "name", "far0"], check=True)
    try:
        lab.exec(["ip", "address", "add", "10.244.0.200/26", "dev", "vpn0"], check=True)
        lab.exec(["ip", "link", "set", "vpn0", "up"], check=True)
        yield "vpn0"
    finally:
        lab.exec(["ip", "link", "delete", "vpn0"], check=True)


# --- the options that choose


def test_services_and_pods_of_both_families_are_routed(connect: Connecting, laptop: Laptop) -> None:
    session = connect("--namespace", "shop")
    assert routed(laptop) == networks(*SERVICES, *PODS) == reported(session)


def test_include_and_exclude(connect: Connecting, laptop: Laptop, shop: Shop) -> None:
    session = connect("--include", ELSEWHERE[0], "--exclude", "10.244.0.0/25", "--exclude", POD_IPV6)
    assert routed(laptop) == networks(*SERVICES, "10.244.0.128/25", ELSEWHERE[0]) == reported(session)
    assert error_of_connecting(laptop, "10.244.0.3", 8080) == "ENETUNREACH"


def test_without_pods_and_without_dns(connect: Connecting, laptop: Laptop, shop: Shop) -> None:
    resolver = laptop.output("cat", "/etc/resolv.conf")
    session = connect("--namespace", "shop", "--no-pods", "--no-dns")
    assert routed(laptop) == networks(*SERVICES) == reported(session)
    assert session.status()["dns"] is None
    assert laptop.output("cat", "/etc/resolv.conf") == resolver
    assert laptop.run(["getent", "hosts", "web"]).returncode == 2
    assert "web greets you" in laptop.output("curl", "-sS", f"http://{shop.service('web').ipv4}/")
    assert error_of_connecting(laptop, shop.pod("store-0").ipv4, 8080) == "ENETUNREACH"


def test_every_option_is_an_environment_variable_too(connect: Connecting, laptop: Laptop) -> None:
    environment = {
        "KTPY_NAMESPACE": "shop",
        "KTPY_INCLUDE": " ".join(ELSEWHERE),
        "KTPY_EXCLUDE": SERVICE_IPV6,
        "KTPY_NO_PODS": "1",
        "KTPY_NO_DNS": "1",
    }
    session = connect(env=environment)
    assert routed(laptop) == networks(SERVICE_IPV4, *ELSEWHERE)
    assert (session.status()["namespace"], session.status()["dns"]) == ("shop", None)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--include", "0.0.0.0/0"], RANGE_OVERLAP, "default route"),
        (["--include", "10.96.0.1/16"], USAGE, "has host bits set"),
        (["--include", "everything"], USAGE, "wanted: an address range"),
    ],
)
def test_what_cannot_be_routed_is_refused(laptop: Laptop, options: list[str], code: int, said: str) -> None:
    before = laptop.network_state()
    done = laptop.run(["sudo", "ktpy", "connect", *options])
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert laptop.network_state() == before


# --- what must not be taken


def test_a_local_network_that_overlaps_is_named_and_left_alone(laptop: Laptop, vpn: str) -> None:
    before = laptop.network_state()
    done = laptop.run(["sudo", "ktpy", "connect", "--namespace", "shop"])
    assert done.returncode == RANGE_OVERLAP
    assert f"{POD_IPV4} (pods, from the nodes' podCIDRs) overlaps {VPN} on {vpn}" in done.stderr
    assert f"--exclude {VPN}" in done.stderr
    assert laptop.network_state() == before


def test_the_hints_way_out_leaves_it_local(connect: Connecting, laptop: Laptop, vpn: str) -> None:
    connect("--namespace", "shop", "--exclude", VPN)
    assert "dev vpn0" in laptop.output("ip", "route", "get", "10.244.0.193")
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")


def test_the_hints_other_way_out_takes_it_into_the_cluster(connect: Connecting, laptop: Laptop, vpn: str) -> None:
    before = laptop.network_state()
    session = connect("--namespace", "shop", "--include", VPN)
    assert "dev ktpy0" in laptop.output("ip", "route", "get", "10.244.0.193")
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
    session.quit()
    assert laptop.network_state() == before


def test_both_are_reached_where_the_cluster_gets_other_addresses(
    connect: Connecting, laptop: Laptop, shop: Shop, vpn: str
) -> None:
    """By name and address, over TCP and ping; the VPN's own addresses stay where they were."""
    before = laptop.network_state()
    session = connect("--namespace", "shop", "--on-overlap", "translate")
    assert {entry["network"]: entry["stand_in"] for entry in session.status()["ranges"]} == {
        SERVICE_IPV4: None,
        SERVICE_IPV6: None,
        POD_IPV4: "240.0.0.0/24",
        POD_IPV6: None,
    }
    seen = "240.0.0." + shop.pod("store-0").ipv4.rpartition(".")[2]
    assert laptop.output("getent", "ahostsv4", "store-0.store").split()[0] == seen
    assert laptop.output("getent", "hosts", seen).split()[1] == "store-0.store.shop.svc.cluster.local"
    for url in ("http://web/", "http://store-0.store:8080/", f"http://{seen}:8080/"):
        assert laptop.run(["curl", "-sSf", "--max-time", "10", url]).returncode == 0, url
    laptop.output("ping", "-n", "-c", "1", "-W", "5", seen)
    assert "dev vpn0" in laptop.output("ip", "route", "get", "10.244.0.193")
    session.quit()
    assert laptop.network_state() == before


def test_two_connections_with_the_same_addresses_and_one_is_killed(
    connect: Connecting, lab: Lab, laptop: Laptop, shop: Shop
) -> None:
    before = laptop.network_state()
    first = connect("--namespace", "shop")
    alone = laptop.network_state()
    named = ["sudo", "ktpy", "connect", "--name", "east", "--detach", "--namespace"]
    assert "namespace default, as east" in laptop.output(*named, "default")
    [east] = [one for one in json.loads(laptop.output("ktpy", "status", "-o", "json"))["sessions"] if one["name"]]
    assert {one["stand_in"] for one in east["ranges"] if one["network"] == SERVICE_IPV4} == {"240.0.0.0/16"}
    web = shop.service("web").ipv4
    for host, address in {"web": web, "web.shop.svc.east": web.replace("10.96.", "240.0.")}.items():
        assert laptop.output("getent", "ahostsv4", host).split()[0] == address
        assert "web greets you" in laptop.output("curl", "-sS", f"http://{host}/")
    again = laptop.run([*named, "shop"])
    assert (again.returncode, "a connection called east" in again.stderr) == (ALREADY_CONNECTED, True), again.stderr
    lab.exec(["kill", "-KILL", str(east["pid"])], check=True)
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
    wait_until(lambda: laptop.network_state() == alone, 60, "the killed one's routes and resolver to be undone")
    lab.kubectl("delete", "job", "--namespace", "default", east["pod"].rpartition("-")[0])  # else a minute later
    first.quit()
    assert laptop.network_state() == before


def test_the_api_server_is_never_routed(connect: Connecting, laptop: Laptop) -> None:
    """Else the tunnel would run through itself."""
    session = connect("--namespace", "shop", "--include", "10.99.0.0/30")
    assert reported(session) == networks(*SERVICES, *PODS, "10.99.0.0/32", "10.99.0.2/31")
    assert "dev eth0" in laptop.output("ip", "route", "get", NODE_IPV4)
    assert laptop.output("curl", "-sSk", f"https://{NODE_IPV4}:{API_PORT}/livez") == "ok"
    assert "namespace/shop" in laptop.output("kubectl", "get", "namespaces", "-o", "name")


def test_the_machines_name_servers_are_never_routed(connect: Connecting, laptop: Laptop) -> None:
    """Else every name that is not the cluster's would be lost."""
    session = connect("--namespace", "shop", "--include", "10.99.0.52/31")
    assert reported(session) == networks(*SERVICES, *PODS, "10.99.0.52/32")
    assert laptop.output("getent", "ahostsv4", "outside.example").split()[0] == "192.0.2.10"


# --- while connected


def test_a_pod_that_comes_later_is_reachable(connect: Connecting, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    connect("--namespace", "shop")
    with shell_server(lab, NAMESPACE, "latecomer", 9000, "echo late"):
        pod = shop.pod("latecomer")
        for address in (pod.ipv4, pod.ipv6):
            with laptop.connection(address, 9000) as connection:
                assert connection.recv(64) == b"late\n"


def test_a_second_connect_to_the_same_cluster_is_refused(connect: Connecting, laptop: Laptop) -> None:
    session = connect("--namespace", "shop")
    before = laptop.network_state()
    for command in (["sudo", "ktpy", "connect"], ["ktpy", "connect", "--namespace", "default"]):
        done = laptop.run(command)
        assert (done.returncode, "already" in done.stderr) == (ALREADY_CONNECTED, True), done.stderr
    assert laptop.network_state() == before
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
    session.quit()


def test_status_tells_what_there_is_to_know(connect: Connecting, laptop: Laptop, lab: Lab) -> None:
    session = connect("--namespace", "shop")
    laptop.output("curl", "-sS", "http://web/")
    status = session.status()
    assert {key: status[key] for key in ("kind", "context", "server", "namespace", "state")} == {
        "kind": "connect",
        "context": "lab",
        "server": lab.layout.server_url,
        "namespace": "shop",
        "state": "connected",
    }
    assert status["dns"]["cluster_domain"] == "cluster.local"
    assert status["bytes"]["in"] > 0 < status["bytes"]["out"]
    assert lab.api.get(f"/api/v1/namespaces/shop/pods/{status['pod']}")["status"]["phase"] == "Running"
    as_text = laptop.output("ktpy", "status")
    for fact in (f"connected to lab ({status['server']})", f"process {status['pid']}", status["pod"], SERVICE_IPV4):
        assert fact in as_text
    assert f"process {status['pid']}" in laptop.output("sudo", "ktpy", "status")


def test_detach_returns_when_ready_and_quit_ends_it(laptop: Laptop) -> None:
    before = laptop.network_state()
    printed = laptop.output("sudo", "ktpy", "connect", "--namespace", "shop", "--detach")
    try:
        assert "\nconnected to lab" in printed
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
    finally:
        quit_ = laptop.run(["ktpy", "quit"])
    assert (quit_.returncode, "isconnected from" in quit_.stdout) == (0, True), quit_.stderr
    assert laptop.network_state() == before


def test_without_a_session_there_is_nothing_to_show_or_quit(laptop: Laptop) -> None:
    done = laptop.run(["ktpy", "status", "--output", "json"])
    assert (done.returncode, json.loads(done.stdout)["sessions"]) == (NOT_CONNECTED, [])
    assert "nothing to quit" in laptop.output("ktpy", "quit")


# --- privileges


def helpers_on(laptop: Laptop) -> Iterator[Path]:
    """/proc/PID of helpers that run in the laptop's network, leaving out sudo, which carries its child's words."""
    netns = laptop.netns.stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            is_helper = b"\0ktpy.helper\0" in (process / "cmdline").read_bytes()
            is_here = (process / "ns/net").stat().st_ino == netns
            if is_helper and is_here and (process / "comm").read_text() != "sudo\n":
                yield process


def owner(process: Path) -> int:
    """The effective user: the second number of this line (proc_pid_status(5))."""
    [line] = [line for line in (process / "status").read_text().splitlines() if line.startswith("Uid:")]
    return int(line.split()[2])


@pytest.mark.parametrize("sudo", [True, False])
def test_only_the_helper_is_root(connect: Connecting, laptop: Laptop, sudo: bool) -> None:
    """However it was started: what speaks to the cluster runs as the user."""
    before = laptop.network_state()
    session = connect("--namespace", "shop", sudo=sudo)
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
    main = Path(f"/proc/{session.status()['pid']}")
    assert owner(main) == int(laptop.output("id", "-u"))
    [helper] = helpers_on(laptop)
    assert owner(helper) == 0
    session.quit()
    assert laptop.network_state() == before


# --- other forms of resolv.conf


@pytest.mark.parametrize("mode", ["symlink", "bind"])
def test_names_resolve_where_resolv_conf_is_not_a_plain_file(
    lab: Lab, laptop: Laptop, connect: Connecting, mode: str
) -> None:
    lab.set_resolver(mode)
    try:
        session = connect("--namespace", "shop")
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        assert laptop.output("getent", "ahostsv4", "outside.example").split()[0] == "192.0.2.10"
        session.quit()
    finally:
        lab.set_resolver("file")
