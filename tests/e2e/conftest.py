"""The real cluster that end-to-end tests share, and `ktpy connect` on its laptop.

Fixtures:

- `lab` (session): a lab that is up, with the agent image loaded, the demo shop (tests/demo) rolled out in namespace
  `shop`, no latency, and a plain /etc/resolv.conf. Its name is `ktpy`, or what the environment variable KTPY_LAB says;
  of pytest-xdist's processes each has one. KTPY_LAB_UP has options for it: `--kubernetes 1.35 --proxy-mode nftables`.
- `laptop` (session): the laptop of that lab as a user sees it: `laptop.run(["curl", "http://web/"])` as user dev,
  sockets in its network namespace, raw DNS questions, and `laptop.network_state()` to compare before and after.
- `shop` (session): addresses of the demo shop's services and pods.
- `connected` (module): one `sudo ktpy connect -n shop`, typed by user dev, ready; it quits after the module's last
  test and must then end with 0. A module that wants other options overrides it, see `connecting`.
- `connect` (function): a factory for tests that need sessions of their own:
  `session = connect("--no-pods", env={...})` is ready, and ends after the test if the test did not end it.
  Not beside `connected`: a user is connected to a cluster once.
- `web` (function): address of service web, for tests that intercept it: it is compared, whole, with what it was before.
- `visitors` (function): clients that use service web throughout; none of their requests may fail or take long.

A test that changes the laptop or the cluster puts it back. Without a lab, `KUBECONFIG=... scripts/quickstart` shows
ktpy on any cluster; these tests change resolver, links and routes of the laptop they run on, so it has to be the lab's.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.demo import manifest
from tests.e2e.kit import short_drain
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.object_history import History
from tests.e2e.kit.shop import Shop
from tests.e2e.kit.target_service import SLOWEST_S, as_before, getter, until_reached
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE
from tests.lab.layout import DEFAULT_NAME, REPOSITORY
from tests.lab.sessions.connect import Connecting, ConnectSession, connecting
from tests.lab.sessions.http_clients import Visitors, visiting

IMAGE_BUILD_TIMEOUT_S = 900.0
ROLLOUT_TIMEOUT_S = 180.0


HERE = Path(__file__).parent
SHARED = re.compile(r'scope="|connected: |"connected"')
"""What stands in a file whose tests share more than the lab."""


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Tests of a file, or of a folder in here, go to the same process if they share fixtures, or else to a free one."""

    def _split_scope(self, nodeid: str) -> str:
        place = _place(nodeid)
        return place if _shares_fixtures(place) else nodeid


def _place(nodeid: str) -> str:
    """The file, or the folder in here."""
    return "/".join(nodeid.partition("::")[0].split("/")[:3])


@cache
def _shares_fixtures(place: str) -> bool:
    path = REPOSITORY / place
    return path.is_dir() or SHARED.search(path.read_text()) is not None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time limit is its own; what fixtures start is bounded by itself (the lab's first build: minutes).

    Tests that share fixtures come first: the others are small enough to keep all processes busy to the end.
    """
    items.sort(key=lambda item: HERE in item.path.parents and not _shares_fixtures(_place(item.nodeid)))
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def lab(worker_id: str) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("namespaces, mounts and control groups need root")
    name = os.environ.get("KTPY_LAB", DEFAULT_NAME)
    is_kept = worker_id in ("master", "gw0")
    options = os.environ.get("KTPY_LAB_UP", "").split()
    lab = furnished(Lab.ensure_up(name if is_kept else f"{name}-{worker_id}", *options))
    with short_drain.draining_shortly(lab):
        yield lab
    if not is_kept:
        lab.down()


def furnished(lab: Lab) -> Lab:
    lab.exec(["ktpy", "quit"], user="dev")  # of an earlier run that was killed
    lab.set_latency(0)
    if lab.resolver_mode != "file":
        lab.set_resolver("file")
    lab.load_image(agent_image())
    shop = {"apiVersion": "v1", "kind": "List", "items": manifest.shop(WORKLOAD_IMAGE)}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(shop))
    rollout = ["rollout", "status", f"--timeout={ROLLOUT_TIMEOUT_S:.0f}s", "deployment,statefulset"]
    lab.kubectl("-n", "shop", *rollout, timeout_s=ROLLOUT_TIMEOUT_S + 10)
    return lab


def agent_image() -> Path:
    build = [REPOSITORY / "scripts/build-agent-image"]
    done = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True, timeout=IMAGE_BUILD_TIMEOUT_S)
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def laptop(lab: Lab) -> Laptop:
    return Laptop(lab)


@pytest.fixture(scope="session")
def shop(lab: Lab) -> Shop:
    return Shop(lab.api)


@pytest.fixture(scope="module")
def connected(lab: Lab) -> Iterator[ConnectSession]:
    with connecting(lab, "--namespace", "shop") as session:
        yield session
        session.quit()


@pytest.fixture
def connect(lab: Lab) -> Iterator[Connecting]:
    with ExitStack() as sessions:

        def start(*options: str, sudo: bool = True, env: dict[str, str] | None = None) -> ConnectSession:
            return sessions.enter_context(connecting(lab, *options, sudo=sudo, env=env))

        yield start


@pytest.fixture
def web(lab: Lab, shop: Shop) -> Iterator[str]:
    address = shop.service("web").ipv4
    until_reached(getter(lab, address), "web")  # nodes learn later than the API server that pods are ready
    with as_before(lab, "web"):
        yield address


@pytest.fixture
def visitors(lab: Lab, web: str) -> Iterator[Visitors]:
    history = History(lab)
    with visiting(lab.layout.node_netns_path, web) as visitors:
        yield visitors
    assert visitors.failures() == [], f"{visitors.story()}\n{history}"
    assert visitors.retried() == 0, visitors.story()
    assert visitors.slowest_s() < SLOWEST_S
