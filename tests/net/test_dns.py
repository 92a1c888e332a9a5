"""glibc's own getaddrinfo against the name server on port 53, as programs use it.

Everything happens in a child process (this file, run) with network and mount namespaces of its own: a loopback and
nothing else, and an /etc/resolv.conf, the one the helper writes, that only the child sees.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.stream import StreamClient
from ktpy.dns.system import resolver_request
from ktpy.dns.upstream import Upstream
from ktpy.dns.zone import Zone
from ktpy.helper.resolv_conf import parse, render
from tests.unit.dns.kube import endpoint_slice, external_name, service
from tests.unit.dns.name_servers import failing, name_server, reply

SERVER, PREVIOUS, CLUSTER_DNS = "127.18.0.53", "127.0.0.2", "127.0.0.3"
PREVIOUS_RESOLV_CONF = f"nameserver {PREVIOUS}\noptions timeout:2 attempts:1 edns0 trust-ad\n"
MANY = 1000

WEB = ["10.96.0.7", "fd96::7"]
NO_NAME, NO_DATA = "EAI_NONAME", "EAI_NODATA"

EXPECTED: dict[str, list[str] | str] = {
    # the search list
    "web": WEB,
    "WEB": WEB,
    "web.shop": WEB,
    "web.shop.svc": WEB,
    "web.shop.svc.cluster.local": WEB,
    "web.shop.svc.cluster.local.": WEB,
    "kubernetes.default": ["10.96.0.1"],
    "kubernetes": NO_NAME,  # of another namespace
    # headless
    "db": ["10.244.0.5", "10.244.0.6"],
    "db-0.db": ["10.244.0.5"],
    "10-244-0-6.db.shop.svc.cluster.local": ["10.244.0.6"],
    # a name of the Internet, whatever Service there is; no web proxy is found
    "example.com.svc.cluster.local": ["10.96.6.6"],
    "wpad": NO_NAME,
    # absent, and there without an address of the kind
    "gone": NO_NAME,
    "gone.shop": NO_NAME,
    "gone.shop.svc.cluster.local": NO_NAME,
    "AAAA kubernetes.default.svc.cluster.local": NO_DATA,
    "AAAA web": ["fd96::7"],
    "A web": ["10.96.0.7"],
    # aliases
    "out": ["192.0.2.90"],
    "alias.shop": WEB,
    "dangling.shop": NO_NAME,
    # names of the cluster's DNS
    "printer": ["192.0.2.100"],
    "git.corp": ["192.0.2.100"],
    # outside
    "example.com": ["192.0.2.80"],
    "nowhere.example": NO_NAME,
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the child's look-ups came to."""
    if os.geteuid() != 0:
        pytest.skip("needs root for namespaces")
    root = Path(__file__).parents[2]
    own_namespaces = [str(Path("/proc/self/ns", kind).readlink()) for kind in ("net", "mnt")]
    child = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, __file__, *own_namespaces],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(child.stdout)
    return result


@pytest.mark.parametrize("name", EXPECTED)
def test_getaddrinfo(found: dict[str, Any], name: str) -> None:
    assert found["addresses"][name] == EXPECTED[name]


def test_more_addresses_than_a_datagram_holds_come_over_tcp(found: dict[str, Any]) -> None:
    assert found["many"] == MANY


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.96.0.7", "web.shop.svc.cluster.local"),
        ("fd96::7", "web.shop.svc.cluster.local"),
        ("10.244.0.5", "db-0.db.shop.svc.cluster.local"),
        ("192.0.2.80", "example.com"),
    ],
)
def test_getnameinfo(found: dict[str, Any], address: str, name: str) -> None:
    assert found["names"][address] == name


def test_once_the_server_is_dead_the_previous_resolver_answers_at_once(found: dict[str, Any]) -> None:
    assert found["after"]["example.com"] == ["192.0.2.80"]
    assert found["after_s"] < 1.8, "no time-out of glibc's, which is of 2 s here"


# --- the child


def outside(query: Any) -> bytes:
    """The machine's previous resolver."""
    records = {
        "example.com./A": "example.com. 60 A 192.0.2.80",
        "example.com./AAAA": None,
        "db.example.com./A": "db.example.com. 60 A 192.0.2.90",
        "db.example.com./AAAA": None,
        "80.2.0.192.in-addr.arpa./PTR": "80.2.0.192.in-addr.arpa. 60 PTR example.com.",
    }
    return scripted(query, records)


def in_cluster(query: Any) -> bytes:
    """The cluster's own DNS, with a custom zone."""
    records: dict[str, str | None] = {}
    for name in ("printer.cluster.local.", "git.corp."):
        records |= {f"{name}/A": f"{name} 60 A 192.0.2.100", f"{name}/AAAA": None}
    return scripted(query, records)


def scripted(query: Any, records: dict[str, str | None]) -> bytes:
    asked = f"{str(query.q.qname).lower()}/{ {1: 'A', 12: 'PTR', 28: 'AAAA'}.get(query.q.qtype) }"
    soa = ". 60 SOA ns.example. mail.example. 1 2 3 4 60"
    if asked not in records:
        return reply(query, rcode="NXDOMAIN", authority=soa)
    record = records[asked]
    return reply(query, authority=soa) if record is None else reply(query, record)


def shop() -> Zone:
    zone = Zone(extra_zones=["corp"])
    zone.upsert_service(service("web", "shop", "10.96.0.7", "fd96::7"))
    zone.upsert_service(service("kubernetes", "default", "10.96.0.1"))
    zone.upsert_service(service("example", "com", "10.96.6.6"))
    zone.upsert_service(service("wpad", "shop", "10.96.6.7"))
    zone.upsert_service(service("db"))
    zone.upsert_endpoint_slice(endpoint_slice("db", "shop", ("10.244.0.5", "db-0"), ("10.244.0.6", None)))
    zone.upsert_service(service("many"))
    pods = [(f"10.245.{number // 256}.{number % 256}", None) for number in range(MANY)]
    zone.upsert_endpoint_slice(endpoint_slice("many", "shop", *pods))
    zone.upsert_service(external_name("out", "db.example.com"))
    zone.upsert_service(external_name("alias", "web.shop.svc.cluster.local"))
    zone.upsert_service(external_name("dangling", "gone.shop.svc.cluster.local"))
    zone.synced = True
    return zone


def enter(outer_namespaces: list[str]) -> None:
    """Make the namespaces a machine whose resolver is ktpy. Refuses to touch the outer ones."""
    inner = [str(Path("/proc/self/ns", kind).readlink()) for kind in ("net", "mnt")]
    if any(one == other for one, other in zip(inner, outer_namespaces, strict=True)):
        raise SystemExit("not in namespaces of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    wanted = resolver_request(IPv4Address(SERVER), "cluster.local", "shop")
    previous = parse(PREVIOUS_RESOLV_CONF.encode())
    files = {
        "/etc/resolv.conf": render(previous, wanted.nameservers, wanted.search, wanted.cluster_domain, "laptop"),
        "/etc/nsswitch.conf": b"hosts: dns\n",
    }
    with tempfile.TemporaryDirectory() as folder:
        for number, (path, content) in enumerate(files.items()):
            source = Path(folder, str(number))
            source.write_bytes(content)
            source.chmod(0o644)
            subprocess.run(["mount", "--bind", str(source), path], check=True)


def look_up(name: str) -> list[str] | str:
    family, _, host = name.rpartition(" ")
    families = {"": socket.AF_UNSPEC, "A": socket.AF_INET, "AAAA": socket.AF_INET6}
    try:
        found = socket.getaddrinfo(host, None, families[family], socket.SOCK_STREAM)
    except socket.gaierror as exc:
        names = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
        return names[exc.args[0]]
    return sorted(str(address[0]) for *_, address in found)


def name_of(address: str) -> str:
    return socket.getnameinfo((address, 0), 0)[0]


async def child() -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for sock in (udp, tcp):
        sock.bind((SERVER, 53))
    streams = StreamClient(loop.create_connection, [(CLUSTER_DNS, 53)])
    upstream = Upstream([SERVER, PREVIOUS], own_addresses=[SERVER])
    search = resolver_request(IPv4Address(SERVER), "cluster.local", "shop").search
    resolver = SplitResolver(shop(), upstream=Forwarder(upstream), cluster=Forwarder(streams), search=search)
    async with (
        name_server(outside, host=PREVIOUS, port=53),
        name_server(failing("REFUSED"), in_cluster, host=CLUSTER_DNS, port=53),
    ):
        serving = asyncio.create_task(Server(resolver, [udp], [tcp]).serve())
        found: dict[str, Any] = {
            "addresses": {name: await asyncio.to_thread(look_up, name) for name in EXPECTED},
            "many": len(await asyncio.to_thread(look_up, "many")),
            "names": {
                address: await asyncio.to_thread(name_of, address)
                for address in ("10.96.0.7", "fd96::7", "10.244.0.5", "192.0.2.80")
            },
        }
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        streams.close()
        started_s = time.monotonic()
        found["after"] = {"example.com": await asyncio.to_thread(look_up, "example.com")}
        found["after_s"] = time.monotonic() - started_s
        return found


if __name__ == "__main__":
    enter(sys.argv[1:])
    print(json.dumps(asyncio.run(child())))
