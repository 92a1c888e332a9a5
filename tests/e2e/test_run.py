"""`ktpy run` on the lab: a program in a network of its own, as user dev without root."""

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop

GREETING = "web greets you"
RUN = ("ktpy", "run", "--namespace", NAMESPACE, "--")


@pytest.mark.parametrize("prefix", [(), ("sudo",)])
def test_a_program_reaches_services_and_pods_and_the_laptop_does_not(
    laptop: Laptop, shop: Shop, prefix: tuple[str, ...]
) -> None:
    pod, before = shop.pod("store-0"), laptop.network_state()
    looks = [f"curl -sS http://web/ http://{pod.ipv4}:8080/ 'http://[{pod.ipv6}]:8080/'", f"ping -qc1 -W5 {pod.ipv4}"]
    done = laptop.run([*prefix, *RUN, "sh", "-c", "; ".join([*looks, "id -un", "exit 7"])])
    assert done.returncode == 7, done.stderr
    assert done.stdout.count("greets you from") == 4  # web asks another one
    assert "1 received" in done.stdout
    assert done.stdout.splitlines()[-1] == "dev"
    assert done.stderr == ""
    assert laptop.network_state() == before
    assert laptop.run(["curl", "-sS", "http://web/"]).returncode == 6
