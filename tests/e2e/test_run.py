"""`ktpy run` on the lab: programs in networks of their own, as user dev without root."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import getter, until_reached
from tests.lab import Lab
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
    looks = [f"curl -sS http://web/ http://{pod.ipv4}:8080/ 'http://[{pod.ipv6}]:8080/'", f"ping -qc1 -W5 {pod.ipv4}"]
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
