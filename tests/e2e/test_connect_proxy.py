"""`ktpy connect --mode proxy`, as a user without root and with the documented Role: programs that are told of it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab
from tests.lab.layout import API_PORT, NODE_IPV4, POD_IPV4
from tests.lab.sessions.connect import ConnectSession, connecting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "bob@example.org"
GREETING = "web greets you"
OPTIONS = ("--mode", "proxy", "--namespace", NAMESPACE)
WAYS = ["--socks5-hostname", "--socks4a", "--proxy"]


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab) -> Iterator[Path]:
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False)):
        yield lab.kubeconfig(USER)


@pytest.fixture(scope="module")
def before(laptop: Laptop) -> str:
    return laptop.network_state()


@pytest.fixture(scope="module")
def proxy(lab: Lab, kubeconfig: Path, before: str) -> Iterator[ConnectSession]:
    with connecting(lab, *OPTIONS, "--include", POD_IPV4, "--kubeconfig", str(kubeconfig), sudo=False) as session:
        yield session
        session.quit()


def port_of(session: ConnectSession) -> int:
    return int(session.status()["proxy"]["port"])


def through(laptop: Laptop, session: ConnectSession, *command: str) -> subprocess.CompletedProcess[str]:
    """A program with the environment that the session tells of."""
    environment = session.status()["proxy"]["environment"]
    return laptop.run(["env", *(f"{name}={value}" for name, value in environment.items()), *command])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "host", ["web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc", f"web.{NAMESPACE}.svc.cluster.local"]
)
def test_names_by_every_protocol(proxy: ConnectSession, laptop: Laptop, way: str, host: str) -> None:
    assert GREETING in laptop.output("curl", "-sS", way, f"127.0.0.1:{port_of(proxy)}", f"http://{host}/")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_addresses_of_services_and_pods(proxy: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
    for address, port in ((getattr(shop.service("web"), family), 80), (getattr(shop.pod("store-0"), family), 8080)):
        host = f"[{address}]" if ":" in address else address
        for way in ("--socks5", "--proxy"):
            done = laptop.run(["curl", "-sS", way, f"127.0.0.1:{port_of(proxy)}", f"http://{host}:{port}/"])
            assert done.returncode == 0, done.stderr


def test_the_laptop_is_not_touched(proxy: ConnectSession, laptop: Laptop, before: str) -> None:
    assert laptop.network_state() == before
    assert laptop.run(["curl", "-sS", "--noproxy", "*", "http://web/"]).returncode == 6


def test_the_environment_serves_programs(proxy: ConnectSession, laptop: Laptop) -> None:
    for command in (["curl", "-sS", "http://web/"], ["wget", "-qO-", "http://web/"]):
        assert GREETING in through(laptop, proxy, *command).stdout
    program = "import urllib.request; print(urllib.request.urlopen('http://web.shop/').read().decode())"
    assert GREETING in through(laptop, proxy, "python3", "-c", program).stdout


def test_a_stream_that_is_half_closed(proxy: ConnectSession, laptop: Laptop) -> None:
    """The echo answers to the end though the client has ended."""
    netcat = ["nc", "-X", "5", "-x", f"127.0.0.1:{port_of(proxy)}", "-N", "echo", "7"]
    assert laptop.output(*netcat, stdin="over and out") == "over and out"


SEND = """
import socket, sys
port, host, target = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
control = socket.create_connection(("127.0.0.1", port))
control.sendall(bytes((5, 1, 0, 5, 3, 0, 1)) + bytes(6))
reply = b""
while len(reply) < 12:
    reply += control.recv(12)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(30)
datagrams.connect(("127.0.0.1", int.from_bytes(reply[10:], "big")))
datagrams.send(bytes((0, 0, 0, 3, len(host))) + host + target.to_bytes(2, "big") + b"over and out")
print(datagrams.recv(100)[-12:].decode())
"""


def test_datagrams(proxy: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    for host in ("echo", f"echo.{NAMESPACE}", shop.service("echo").ipv4, shop.service("echo").ipv6):
        assert laptop.output("python3", "-c", SEND, str(port_of(proxy)), host, "7") == "over and out\n"


def test_the_outside_is_reached_directly(proxy: ConnectSession, laptop: Laptop) -> None:
    """The lab's outside has names, which its resolver knows, and the node's address, but no way further."""
    before = proxy.status()["counters"]["proxy"]["direct"]
    for way in WAYS:
        livez = laptop.output(
            "curl", "-sSk", way, f"127.0.0.1:{port_of(proxy)}", f"https://{NODE_IPV4}:{API_PORT}/livez"
        )
        assert livez == "ok"
    assert proxy.status()["counters"]["proxy"]["direct"] == before + len(WAYS)
    said = laptop.output("curl", "-sS", "--proxy", f"127.0.0.1:{port_of(proxy)}", "http://v4only.outside.example/")
    why = "cannot be reached: there is no route to its network, directly from this machine."
    assert said == f"ktpy: v4only.outside.example:80 {why}\n"


@pytest.mark.parametrize(
    ("url", "socks", "status", "words"),
    [
        ("http://store-0.store:81/", 5, 502, "refused the connection: nothing listens on that port"),
        ("http://10.244.0.250:8080/", 4, 502, "nobody has that address"),
        ("http://absent.shop/", 4, 502, "There is no absent.shop, neither in the cluster nor outside."),
    ],
)
def test_what_does_not_answer_is_told(
    proxy: ConnectSession, laptop: Laptop, url: str, socks: int, status: int, words: str
) -> None:
    port = port_of(proxy)
    done = laptop.run(["curl", "-sS", "-w", "%{http_code}", "--proxy", f"127.0.0.1:{port}", url])
    assert words in done.stdout
    assert done.stdout.endswith(str(status))
    done = laptop.run(["curl", "-sS", "--socks5-hostname", f"127.0.0.1:{port}", url])
    assert f"({socks})" in done.stderr


def test_another_user_of_the_laptop_is_reset(proxy: ConnectSession, lab: Lab) -> None:
    """Often so soon that curl takes it for a connection that failed (7). The proxy counts each."""
    before = proxy.status()["counters"]["proxy"]["foreign"]
    for user in ("nobody", "root"):
        done = lab.exec(["curl", "-sS", "--proxy", f"127.0.0.1:{port_of(proxy)}", "http://web/"], user=user)
        assert done.returncode in (7, 52, 55, 56), done.stderr
    assert proxy.status()["counters"]["proxy"]["foreign"] == before + 2


def test_status_tells_how_it_is_used(proxy: ConnectSession, laptop: Laptop) -> None:
    status = proxy.status()
    assert (status["mode"], status["state"], status["dns"]["resolver"]) == ("proxy", "connected", "the proxy")
    told = laptop.output("ktpy", "status")
    assert f"proxy     socks5h://127.0.0.1:{port_of(proxy)} or http://127.0.0.1:{port_of(proxy)}" in told
    assert "FindProxyForURL" in laptop.output("curl", "-sS", status["proxy"]["pac"])


def test_a_second_one_is_success_and_another_mode_is_refused(
    proxy: ConnectSession, lab: Lab, laptop: Laptop, kubeconfig: Path
) -> None:
    again = ["ktpy", "connect", *OPTIONS, "--kubeconfig", str(kubeconfig)]
    assert f"export HTTP_PROXY=http://127.0.0.1:{port_of(proxy)}" in laptop.output(*again, "--output", "env")
    assert GREETING in laptop.output(*again, "--", "curl", "-sS", "http://web/")
    failed = attempt(lab, "--namespace", NAMESPACE, kubeconfig=kubeconfig)
    assert failed.exit_code == 31
    taken = attempt(
        lab, *OPTIONS, "--proxy-port", str(port_of(proxy)), command=["ktpy", "connect"], kubeconfig=kubeconfig
    )
    assert taken.exit_code == 38
