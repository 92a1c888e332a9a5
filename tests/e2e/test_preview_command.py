"""The command `ktpy preview`, from nothing to a service that only the laptop serves, and back."""

import os
from pathlib import Path

import pytest

from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import (
    EXPOSED,
    LOCAL,
    PROBE_TIMEOUT_S,
    SERVICES,
    until_nothing_of_ktpys,
    until_reached,
)
from tests.lab import Lab
from tests.lab.namespaces import stream_socket
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def accepts(netns: Path, host: str, port: int) -> bool:
    try:
        stream_socket(netns, (host, port), PROBE_TIMEOUT_S).close()
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
            until_reached(lambda: ask(netns, address, port=8080, timeout_s=PROBE_TIMEOUT_S)[1].strip())
            assert "pay (preview)" in laptop.output("ktpy", "list", "-n", NAMESPACE)
            taken = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED], user="root")
            assert taken.exit_code == 55
        preview.leave()
    assert lab.api.get(f"{SERVICES}/pay") is None
    wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the preview to be gone")
