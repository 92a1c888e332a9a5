"""Requests of a cluster's clients, as `ktpy watch` shows them on the laptop that serves them."""

import json
import os

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, PROBE_TIMEOUT_S, until_reached
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

MARKED = {"VERSION": "alice", "Authorization": "Bearer t0ken"}


def test_requests_are_shown_kept_and_sent_again(lab: Lab, laptop: Laptop, web: str) -> None:
    netns, archive = lab.layout.node_netns_path, "/tmp/watched.har"
    with serving(lab, LOCAL) as server, intercepting(lab, "mesh", "web", *EXPOSED, "--version", "alice") as mesh:
        until_reached(lambda: ask(netns, web, MARKED, timeout_s=PROBE_TIMEOUT_S)[1].strip())
        viewer = Foreground(lab, ["ktpy", "watch", "web", "-o", "json", "--path", "/shown", "--har", archive])
        viewer.wait_for('"kind": "watching"')
        for path in ("/shown/a?x=1", "/other", "/shown/b"):
            assert ask(netns, web, MARKED, path=path)[1] == "local\n"
        assert ask(netns, web, path="/shown/of-others")[1] != "local\n"
        viewer.wait_for('"/shown/b"')
        began, first, second = (json.loads(line) for line in viewer.output.splitlines())
        assert (began["intercept"], began["service"], began["why"]) == ("mesh", "web", "requests with VERSION: alice")
        assert [
            (one["method"], one["path"], one["status"], one["port"], one["local_port"]) for one in (first, second)
        ] == [
            ("GET", "/shown/a?x=1", 200, 80, LOCAL),
            ("GET", "/shown/b", 200, 80, LOCAL),
        ]
        assert (second["answer"]["size"], second["id"]) == (len("local\n"), first["id"] + 2)
        assert "t0ken" not in viewer.output

        seen = server.seen["alice"]
        assert "the same" in laptop.output("ktpy", "watch", "--replay", str(first["id"]))
        assert server.seen["alice"] == seen + 1
        unknown = laptop.run(["ktpy", "watch", "--replay", "999"])
        assert (unknown.returncode, "There is no request 999" in unknown.stderr) == (2, True)

        mesh.leave()
        assert viewer.wait_ended() == 0, viewer.output
    wait_until(lambda: "The session has ended." in viewer.output, 5, "the viewer's farewell")
    entries = json.loads(laptop.output("cat", archive))["log"]["entries"]
    assert [one["request"]["url"] for one in entries] == [f"http://{web}/shown/a?x=1", f"http://{web}/shown/b"]
    laptop.output("rm", archive)
    absent = laptop.run(["ktpy", "watch"])
    assert (absent.returncode, absent.stderr.splitlines()[0]) == (60, "error: You have no intercept on this laptop.")
