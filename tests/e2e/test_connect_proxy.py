"""`ktpy connect --mode proxy`, as a user without root and with the documented Role: programs that are told of it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab
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
    with connecting(lab, *OPTIONS, "--kubeconfig", str(kubeconfig), sudo=False) as session:
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
