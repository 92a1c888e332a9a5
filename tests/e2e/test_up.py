"""`ktpy up` and `down`: a file that names connection, intercept, ports and a command."""

import json
import os
import time
from typing import Any

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import ProcessRecord, wait_until
from tests.lab.sessions.intercept import ktpys_objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

FOLDER = "/home/dev/team"
ELSEWHERE = "127.0.0.2"
"""As the address of a container, or of another device: not the loopback address that is looked at unasked."""
FILE = f"""
namespace: {NAMESPACE}
connect: {{}}
exchange:
- target: catalog
  expose: [{ELSEWHERE}:3001:80]
mesh:
- target: web
  expose: [3001:80]
  version: ${{USER}}
forward:
- target: echo
  ports: [4007:7]
commands:
- name: site
  command: [python3, -m, http.server, "3001"]
  workingDir: site
  env: [{{name: TEAM, value: shop}}]
- name: never
  command: ["false"]
  profiles: [never]
"""
NAMES = ["connect", "exchange-catalog", "mesh-web", "forward-echo", "command-site"]
SOON_S, QUICK_S = 60.0, 20.0
"""A busy machine takes some seconds to start ktpy; what would wait for a pod, or in vain, takes longer."""


class Team:
    """What user dev types in the folder of the file."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def run(self, *words: str, exit_code: int = 0, version: str = "dev") -> dict[str, Any]:
        command = f"cd {FOLDER} && USER={version} ktpy {' '.join(words)} --output json"
        done = self._lab.exec(["sh", "-c", command], user="dev", timeout_s=240)
        assert done.returncode == exit_code, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def changes(self, *words: str, **more: Any) -> dict[str, str]:
        return {one["name"]: one["change"] for one in self.run(*words, **more)["entries"]}

    def sessions(self) -> dict[str, Any]:
        return {one["up"]["name"]: one for one in self.run("status")["sessions"]}


def test_it_stands_once_comes_back_and_leaves_nothing(lab: Lab, laptop: Laptop, web: str) -> None:
    before = laptop.network_state()
    lab.exec(["sh", "-c", f"mkdir -p {FOLDER}/site && cat > {FOLDER}/ktpy.yaml"], user="dev", stdin=FILE, check=True)
    lab.exec(["sh", "-c", f"echo from the laptop > {FOLDER}/site/index.html"], user="dev", check=True)
    team = Team(lab)

    def served() -> bool:
        return "from the laptop" in laptop.run(["curl", "-sS", "-H", "VERSION: dev", "http://web/"]).stdout

    try:
        assert team.changes("up") == dict.fromkeys(NAMES, "start")
        wait_until(served, SOON_S, "the request to come here")
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        first = team.sessions()

        def shortcuts() -> bool:
            is_here = "from the laptop" in laptop.run(["curl", "-sS", "http://catalog/"]).stdout
            found = team.sessions()
            counted = found["connect"]["counters"]["local_shortcuts"]["connections"]
            return bool(is_here and counted and found["exchange-catalog"]["ports"][0]["shortcuts"])

        wait_until(shortcuts, SOON_S, "a request that does not travel through the cluster")

        began_s = time.monotonic()
        assert team.changes("up") == dict.fromkeys(NAMES, "none")
        assert time.monotonic() - began_s < QUICK_S
        assert {name: one["pid"] for name, one in team.sessions().items()} == {
            name: one["pid"] for name, one in first.items()
        }

        for name in ("mesh-web", "command-site"):
            ProcessRecord.of(first[name]["pid"]).kill()
        gone = dict.fromkeys(NAMES, "none") | {"mesh-web": "start", "command-site": "start"}
        assert team.changes("up", "--dry-run") == gone
        assert team.changes("up") == gone
        wait_until(served, SOON_S, "the request to come here again")
        told = team.run("up", "--profile", "never", exit_code=69)["entries"][-1]
        assert (told["name"], told["failure"]["error"]) == ("command-never", "never has ended with 1.")
        assert team.changes("up", "--dry-run", version="other")["mesh-web"] == "restart"

        ended = team.run("down")
        assert {one["name"]: one["failure"] for one in ended["entries"]} == dict.fromkeys(NAMES)
        assert ended["left"] == []
    finally:
        team.run("down")
    assert team.run("status", exit_code=36)["sessions"] == []
    here = "pgrep --ns $$ --nslist net --full '[h]ttp.server 3001'"  # nor is it the shell that asks
    assert lab.exec(["sh", "-c", here]).returncode == 1
    wait_until(lambda: ktpys_objects(lab, NAMESPACE) == [], SOON_S, "everything to go from the cluster")
    assert laptop.network_state() == before
