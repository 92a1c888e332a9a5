"""Copies of a service's requests on the laptop, beside a mesh; no visitor notices, whatever becomes of them."""

import json
import os
from collections import Counter

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, OTHER_LOCAL, PROBE_TIMEOUT_S, until_reached
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import Visitors, ask
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import listener, serving
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

ALICE = {"VERSION": "alice"}


def test_a_tap_beside_a_mesh(lab: Lab, laptop: Laptop, web: str, visitors: Visitors) -> None:
    netns = lab.layout.node_netns_path

    def of_tap(key: str) -> int:
        sessions = json.loads(laptop.output("ktpy", "status", "-o", "json"))["sessions"]
        [port] = next(one["ports"] for one in sessions if one["kind"] == "tap")
        return int(port[key])

    def of_everybody(seen: Counter[str]) -> bool:
        """One more of Alice's is asked each time: the first may have come before the gateway copied any."""
        assert ask(netns, web, ALICE)[1] == "local\n"
        return seen[""] > 100 and seen["alice"] > 0

    with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *EXPOSED, "--version", "alice") as mesh:
        until_reached(lambda: ask(netns, web, ALICE, timeout_s=PROBE_TIMEOUT_S)[1].strip())
        tap = Intercept(lab, "tap", "web", "-n", "shop", "--to", f"{OTHER_LOCAL}:80")
        try:
            with serving(lab, OTHER_LOCAL, "nobody reads this") as copies:
                assert tap.wait_ready()["copied_percent"] == 100
                wait_until(lambda: of_everybody(copies.seen), SOON_S, "copies of everybody's")
                assert all("ktpy-tap=" in lines[-1] for lines in copies.baggage)
                assert "tap of port 80" in laptop.output("ktpy", "who", "-n", "shop")
                wait_until(lambda: of_tap("requests") > 0, SOON_S, "copies to be counted")
            with listener(lab, OTHER_LOCAL):  # a program that hangs: it accepts, and never answers
                wait_until(lambda: of_tap("dropped") > 100, SOON_S, "copies to be dropped")
        finally:
            tap.kill()
        laptop.output("ktpy", "list", "-n", "shop")  # undoes what the killed one has left
        assert "tap" not in laptop.output("ktpy", "who", "-n", "shop")
        assert ask(netns, web, ALICE)[1] == "local\n"
        mesh.leave()
