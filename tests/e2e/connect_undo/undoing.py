"""What tests of undoing look at: the resolver, Jobs, and what became of those that nobody cares for."""

import threading
import time

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab, resolver_modes
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession

NAMESPACE = "undo"
OPTIONS = ("--namespace", NAMESPACE)
OUTSIDE, OUTSIDE_ADDRESS = "outside.example", "192.0.2.10"
NO_ROUTES = ("--no-dns", "--no-pods", "--exclude", "10.96.0.0/16", "--exclude", "fd96::/108")
MOMENTS = ["cluster", "pod", "ssh", "routes", "dns"]
"""The steps that `connect` tells while it starts, in this order."""
ASIDE_S = 1.5
"""Names resolve while a killed session's file is still there: its address refuses at once, no time-out of 2 s."""
CLUSTER_CLEAN_S = 120.0
POD_END_S = 60.0
RESOLV_CONF = "'/etc/resolv.conf'"
"""Where the laptop's network state comes to the resolver; links, addresses, routes and rules stand before it."""
LINK_LOST_WITHIN_S = 30.0
"""9 s until the silence is noticed, and the time that is given to deleting the Job."""
RECOVERED = "An earlier ktpy was killed: undone: "


class Abandoned:
    """Jobs that no living ktpy will delete, each with the time since when, and when it was seen to be gone."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._since_s: dict[str, float] = {}
        self._lifetime_s: dict[str, float] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="abandoned Jobs", daemon=True)
        self._watcher.start()

    def all_now(self) -> list[str]:
        """From now on nobody cares for any Job there is. Returns their names; waits for a cable just plugged in."""
        wait_until(lambda: self._present() is not None, 60, "the API server to answer")
        names = self._present()
        assert names is not None
        for name in names:
            self._since_s.setdefault(name, time.monotonic())
        return names

    def lifetimes_s(self) -> dict[str, float]:
        """How long each lasted, once all are gone; those that are there too long: since when they are."""
        self._present()
        wait_until(lambda: self._is_due(), CLUSTER_CLEAN_S + 5, "abandoned Jobs to be gone")
        now_s = time.monotonic()
        return {name: self._lifetime_s.get(name, now_s - since_s) for name, since_s in self._since_s.items()}

    def stop(self) -> None:
        self._over.set()
        self._watcher.join(10)

    def _is_due(self) -> bool:
        late_s = time.monotonic() - CLUSTER_CLEAN_S
        return all(name in self._lifetime_s or since_s < late_s for name, since_s in self._since_s.items())

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self._present()

    def _present(self) -> list[str] | None:
        """Jobs with or without pods, and pods without Jobs, by the Job's name; None when the API server is away."""
        label = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dktpy"
        jobs = self._lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs?{label}")
        pods = self._lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?{label}")
        if jobs is None or pods is None:
            return None
        names = {job["metadata"]["name"] for job in jobs["items"]}
        names |= {pod["metadata"]["labels"]["job-name"] for pod in pods["items"]}
        for name, since_s in list(self._since_s.items()):
            if name not in names:
                self._lifetime_s.setdefault(name, time.monotonic() - since_s)
        return sorted(names)


every_resolver = pytest.mark.parametrize("resolver", resolver_modes.MODES, indirect=True)


def outside_name_resolves_within_s(laptop: Laptop) -> float:
    """The machine's own look-ups, as every program makes them: the quickest of five, as others work here, too."""

    def took_s() -> float:
        started_s = time.monotonic()
        assert OUTSIDE_ADDRESS in laptop.output("getent", "ahostsv4", OUTSIDE)
        return time.monotonic() - started_s

    return min(took_s() for _ in range(5))


def recover(laptop: Laptop, *command: str) -> str:
    """What a command says on standard error; it must end well, and nothing is connected."""
    done = laptop.run(command)
    assert done.returncode == (36 if "status" in command else 0), done.stderr
    return done.stderr


def job_of(session: ConnectSession) -> str:
    return str(session.status()["pod"]).rpartition("-")[0]


def exists(lab: Lab, job: str) -> bool:
    return lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job}") is not None
