"""A preview: a service that only the laptop serves."""

import os
from pathlib import Path

import pytest

from tests.e2e.attempts import attempt
from tests.e2e.intercepted import EXPOSED, LOCAL, SERVICES, until_nothing_of_ktpys
from tests.e2e.intercepts import intercepting, ktpys_objects
from tests.e2e.laptop import Laptop
from tests.e2e.local_server import serving
from tests.e2e.shop import NAMESPACE
from tests.e2e.visitors import ask
from tests.e2e.visits import SOON_S
from tests.lab import Lab
from tests.lab.namespaces import stream_socket
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def accepts(netns: Path, host: str, port: int) -> bool:
    try:
        stream_socket(netns, (host, port), 1.0).close()
    except OSError:
        return False
    return True


def test_a_preview(lab: Lab, laptop: Laptop) -> None:
    until_nothing_of_ktpys(lab)  # another file's tests may have left pods that are ending
    netns = lab.layout.node_netns_path
    with intercepting(lab, "preview", "pay", "--expose", f"{LOCAL}:8080") as preview:
        address = lab.api.get(f"{SERVICES}/pay")["spec"]["clusterIP"]
        wait_until(lambda: accepts(netns, address, 8080), SOON_S, "the new service to be known")
        status, body = ask(netns, address, port=8080)
        assert (status, "dev@laptop" in body, "away" in body) == (503, True, True)
        with serving(lab, LOCAL):
            wait_until(lambda: ask(netns, address, port=8080)[1] == "local\n", SOON_S, "the preview")
            assert "pay (preview)" in laptop.output("ktpy", "list", "-n", NAMESPACE)
            taken = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED], user="root")
            assert taken.exit_code == 55
        preview.leave()
    assert lab.api.get(f"{SERVICES}/pay") is None
    wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the preview to be gone")
