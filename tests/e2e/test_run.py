"""`ktpy run` on the lab: programs in networks of their own, as user dev without root."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.sleeping import Sleeping
from tests.e2e.kit.target_service import getter, until_reached
from tests.lab import Lab
from tests.lab.layout import POD_IPV4, SERVICE_IPV4
from tests.lab.sessions.foreground import Foreground

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

RUN = ("ktpy", "run", "--namespace", NAMESPACE)
SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Greeter(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"local greets you")
server = HTTPServer(("", 8080), Greeter)
print("it listens", flush=True)
server.serve_forever()
"""
"""It listens where the pods of service web do."""


@pytest.mark.parametrize("prefix", [(), ("sudo",)])
def test_a_program_reaches_services_and_pods_and_the_laptop_does_not(
    laptop: Laptop, shop: Shop, prefix: tuple[str, ...]
) -> None:
    pod, before = shop.pod("store-0"), laptop.network_state()
    looks = [f"curl -sS http://web/ http://{pod.ipv4}:8080/ 'http://[{pod.ipv6}]:8080/'", f"ping -qc1 -W20 {pod.ipv4}"]
    done = laptop.run([*prefix, *RUN, "--", "sh", "-c", "; ".join([*looks, "id -un", "exit 7"])])
    assert done.returncode == 7, done.stderr
    assert done.stdout.count("greets you from") == 4, done.stdout  # web asks another one
    assert "1 received" in done.stdout
    assert done.stdout.splitlines()[-1] == "dev"
    assert laptop.network_state() == before
    assert laptop.run(["curl", "-sS", "http://web/"]).returncode == 6


def test_a_share_of_a_service_goes_to_one_of_several_programs(lab: Lab, laptop: Laptop, web: str) -> None:
    get = getter(lab, web)
    share = ("--service", "web", "--exchange", "80", "--mesh", "alice", "--publish", "8088:8080")
    program = Foreground(lab, [*RUN, *share, "--", "python3", "-c", SERVER])
    try:
        program.wait_for("it listens")
        until_reached(lambda: get(VERSION="alice"))
        assert get() == "web"
        assert laptop.output("curl", "-sS", "http://127.0.0.1:8088/") == "local greets you"
        with ThreadPoolExecutor() as others:
            asked = [others.submit(laptop.output, *RUN, "--", "curl", "-sS", "http://catalog/") for _ in range(2)]
            assert all("catalog greets you" in one.result() for one in asked)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait_ended() == 128 + signal.SIGTERM
    finally:
        program.end()
    assert get(VERSION="alice") == "web"


def test_ten_side_by_side_each_see_a_namespace_of_their_own(lab: Lab, laptop: Laptop, views: dict[str, str]) -> None:
    """Beside a VPN that has all the cluster's ranges. Each has three processes, and less than 100 MB in all."""
    looks, before = "getent ahostsv4 here; curl -sS http://web.shop/", laptop.network_state()
    with ExitStack() as stack:
        runs = {name: Sleeping(lab, "--namespace", name, script=looks) for name in views}
        for run in runs.values():
            stack.callback(run.close)
        for run in runs.values():
            run.wait_ready()
        for name, run in runs.items():
            assert re.search(rf"^{views[name]} +STREAM here.{name}\b", run.output, re.MULTILINE), run.output
            assert "web greets you" in run.output
            assert len(run.processes) == 3
            assert run.pss_mb() < 100
        assert laptop.network_state() == before
        assert "dev vpn0" in laptop.output("ip", "route", "get", views["view-0"])
        for run in runs.values():
            run.process.terminate()
        assert {run.wait_ended() for run in runs.values()} == {128 + signal.SIGTERM}
    assert laptop.network_state() == before


@pytest.fixture
def views(lab: Lab) -> Iterator[dict[str, str]]:
    """Namespaces, each with the address of its service `here`. A VPN of the laptop has all those addresses, too."""
    names = [f"view-{number}" for number in range(10)]
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
    objects: list[dict[str, Any]] = []
    for name in names:
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        objects.append({**service, "metadata": {"name": "here", "namespace": name}})
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    routes = [f"ip route add {network} dev vpn0" for network in (SERVICE_IPV4, POD_IPV4)]
    lab.exec(["sh", "-ec", "; ".join(["ip link add vpn0 up type veth peer name far0", *routes])], check=True)
    yield {name: Shop(lab.api, name).service("here").ipv4 for name in names}
    lab.exec(["ip", "link", "delete", "vpn0"], check=True)
    lab.kubectl("delete", "namespace", *names, "--wait=false")
