"""`connect` comes back by itself: what stays meanwhile, how soon it is back, and that nothing adds up."""

import errno
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import processes, talks
from tests.e2e.kit.conversations import Conversation, conversing
from tests.e2e.kit.failed_command import Kubeconfigs
from tests.e2e.kit.faults import kill_in_pod, unplugged
from tests.e2e.kit.laptop import Laptop, assert_is_answered, is_echoed
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.workloads import applied, service
from tests.kit.waiting import eventually
from tests.lab import Lab, network, node
from tests.lab.lab import API_RESTART_TIMEOUT_S
from tests.lab.layout import LAPTOP_IPV4, LINK_IPV4_PREFIX_LENGTH
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import Connecting, ConnectSession

ECHO_PORT = 7
NOTICED_WITHIN_S = 20.0
"""A stall: 9 s, and how long it takes a busy machine to tell it."""
BACK_WITHIN_S = 10.0
"""It dials after a second at most; the rest is what that takes a busy machine."""
NEW_POD_WITHIN_S = 40.0
"""It has to be scheduled and started."""
NODE_BACK_WITHIN_S = 90.0
ANSWERED_WITHIN_S = 30.0
WATCHED_WITHIN_S = 30.0
"""A watch that was connecting when the way came back may go on with that for 10 s."""
EXPIRED_WITHIN_S = 40.0
"""The API server remembers a token that it has accepted for 10 s."""
LOGGED_IN_WITHIN_S = 30.0
"""A plugin is asked every 5 s, and its answer is used within 5 s more."""
WAITED_S = range(9, 20)
"""How long a new connection waits for the link: 10 s, and what it takes to be told."""


class Session:
    """A session of `connect`, and how often its link was lost and back."""

    def __init__(self, session: ConnectSession) -> None:
        self.connect = session
        self.rounds = 0

    def wait_lost(self, timeout_s: float) -> None:
        self._wait("lost", timeout_s)

    def wait_back(self, timeout_s: float) -> None:
        self._wait("back", timeout_s)
        self.rounds += 1

    def _wait(self, what: str, timeout_s: float) -> None:
        is_seen = eventually(lambda: self.connect.output.count(f"\n  {what} ") > self.rounds, timeout_s=timeout_s)
        assert is_seen, f"not {what} within {timeout_s:g} s:\n{self.connect.output}"


@pytest.fixture
def session(connect: Connecting) -> Iterator[Session]:
    running = connect("--namespace", NAMESPACE, "--keep", "10m")
    yield Session(running)
    running.quit()


def error_of_connecting(laptop: Laptop, address: str) -> tuple[int | None, float]:
    """What becomes of a new connection, and after how many seconds."""
    began_s = time.monotonic()
    try:
        with laptop.connection(address, 80):
            return None, time.monotonic() - began_s
    except OSError as error:
        return error.errno, time.monotonic() - began_s


@contextmanager
def talking(laptop: Laptop, address: str) -> Iterator[socket.socket]:
    """A connection over which a request has been answered, and that stays open."""
    with laptop.connection(address, 80) as kept:
        assert_is_answered(kept)
        yield kept


def assert_is_reset(kept: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        _ = [*iter(lambda: kept.recv(4096), b"")]


def jobs_of(lab: Lab, namespace: str = NAMESPACE) -> list[str]:
    found = lab.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs?labelSelector=ktpy.dev%2Frole%3Dshadow")
    assert found is not None
    return [job["metadata"]["name"] for job in found["items"]]


PASSING = service("passing", {"port": 80}, app="web")
"""It is deleted when the link is back: the watches have to be back, too."""


def is_known(laptop: Laptop, name: str) -> bool:
    return laptop.run(["getent", "hosts", name]).returncode == 0


def test_the_cable_is_out(session: Session, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """Nothing closes a connection: packets vanish."""
    web, before = shop.service("web"), laptop.network_state()
    pod = session.connect.status()["pod"]
    with talking(laptop, web.ipv4) as kept, applied(lab, NAMESPACE, PASSING):
        wait_until(lambda: is_known(laptop, "passing"), ANSWERED_WITHIN_S, "the new service's name")
        with unplugged(lab):
            session.wait_lost(NOTICED_WITHIN_S)
            assert laptop.output("getent", "hosts", "web").split()[0] in (web.ipv4, web.ipv6)
            error, after_s = error_of_connecting(laptop, web.ipv4)
            assert (error, int(after_s) in WAITED_S) == (errno.EHOSTUNREACH, True), after_s
            status = session.connect.status()
            assert (status["state"], status["link"]["losses"]) == ("reconnecting", 1)
            assert "  link      lost for " in laptop.output("ktpy", "status")
        session.wait_back(BACK_WITHIN_S)
        assert_is_answered(kept)
    wait_until(lambda: not is_known(laptop, "passing"), WATCHED_WITHIN_S, "the deleted service's name to go")
    assert laptop.output("curl", "--silent", "http://web/")
    assert session.connect.status()["pod"] == pod
    assert laptop.network_state() == before


@pytest.fixture
def programs(session: Session, lab: Lab, laptop: Laptop, shop: Shop) -> Iterator[dict[str, Conversation]]:
    pod = next(iter(shop.pods("echo").values()))
    with conversing(laptop, lab.pod_netns(pod.ipv4), pod) as programs:
        yield programs


def test_what_is_open_lives_on(
    session: Session, lab: Lab, laptop: Laptop, shop: Shop, programs: dict[str, Conversation]
) -> None:
    """A thousand connections and real programs. The cable is out, and the API server restarts meanwhile."""
    echo = shop.service("echo")
    answers = {name: programs[name].answer() for name in programs}
    with talks.talking(laptop, talks.Talks([echo.ipv4, echo.ipv6], ECHO_PORT, idle=1000, talking=50)) as open_ones:
        with unplugged(lab):
            session.wait_lost(NOTICED_WITHIN_S)
            node.restart_component(lab.layout, "kube-apiserver")
            said_bytes = open_ones.said_bytes
        wait_until(lab.api.is_ready, API_RESTART_TIMEOUT_S, "the API server")
        session.wait_back(BACK_WITHIN_S)
        assert eventually(lambda: open_ones.said_bytes > said_bytes + 500_000), "they talk again"
        counted = session.connect.status()["counters"]["kept"]
    assert open_ones.failures == []
    assert {name: programs[name].answer() for name in programs} == answers
    assert (counted["kept"], counted["lost"]) == (1050 + len(programs), 0)


def test_connections_end_with_the_link_where_that_is_asked_for(
    lab: Lab, laptop: Laptop, shop: Shop, connect: Connecting
) -> None:
    session = Session(connect("--namespace", NAMESPACE, "--no-keep"))
    with talking(laptop, shop.service("web").ipv4) as kept:
        kill_in_pod(lab, str(session.connect.status()["pod"]), "sshd-session: ktpy@")
        assert_is_reset(kept)
    session.connect.quit()


def test_the_api_server_restarts(session: Session, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """New connections wait, and outside names do not."""
    pod = session.connect.status()["pod"]
    with talking(laptop, shop.service("web").ipv4) as kept:
        lab.restart_api()
        session.wait_back(BACK_WITHIN_S)
        assert_is_answered(kept)
    assert laptop.output("curl", "--silent", "http://web/")
    assert session.connect.status()["pod"] == pod


def test_the_laptop_changes_its_address(session: Session, lab: Lab, laptop: Laptop) -> None:
    """As in another network: what was sent from the old address is never answered."""
    before, other = laptop.network_state(), str(ip_address(LAPTOP_IPV4) + 50)
    for new, old in ((other, LAPTOP_IPV4), (LAPTOP_IPV4, other)):
        for change, address in (("del", old), ("add", new)):
            command = ["ip", "address", change, f"{address}/{LINK_IPV4_PREFIX_LENGTH}", "dev", network.LINK]
            lab.exec(command, check=True)
        session.wait_back(NOTICED_WITHIN_S + BACK_WITHIN_S)
        assert laptop.output("curl", "--silent", "http://web/")
    assert laptop.network_state() == before


def test_the_pod_is_deleted(session: Session, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    before, pod = laptop.network_state(), session.connect.status()["pod"]
    [job] = jobs_of(lab)
    with talking(laptop, shop.service("web").ipv4) as kept:
        lab.kubectl("-n", NAMESPACE, "delete", "pod", str(pod), "--wait=false")
        session.wait_lost(NEW_POD_WITHIN_S)
        assert_is_reset(kept)
    session.wait_back(NEW_POD_WITHIN_S)
    assert laptop.output("curl", "--silent", "http://web/")
    assert session.connect.status()["pod"] != pod
    [new] = jobs_of(lab)
    assert new != job
    assert laptop.network_state() == before


def test_the_node_restarts(session: Session, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """Its kubelet and containerd, and with them the pod: UDP is back as TCP is."""
    before, pod = laptop.network_state(), str(session.connect.status()["pod"])
    echo = shop.service("echo").ipv4
    with laptop.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.connect((echo, ECHO_PORT))
        for component in ("kubelet", "containerd"):
            node.restart_component(lab.layout, component)
        kill_in_pod(lab, pod, "")
        wait_until(lambda: is_connected_by_another(session, pod), NODE_BACK_WITHIN_S, "another pod")
        wait_until(lambda: is_echoed(program), ANSWERED_WITHIN_S, "an echo")
    assert laptop.output("curl", "--silent", "http://web/")
    assert len(jobs_of(lab)) == 1
    assert laptop.network_state() == before


def is_connected_by_another(session: Session, pod: str) -> bool:
    """By another pod. The link may be back with this one, which lives a little longer than the kubelet."""
    status = session.connect.status()
    return bool(status["state"] == "connected" and status["pod"] != pod)


def used(lab: Lab) -> dict[str, Any]:
    """What the main process and the cluster have of this session."""
    process = Path(f"/proc/{processes.only(lab, 'main').record.pid}")
    [rss] = [line.split()[1] for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS")]
    pods = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=ktpy.dev%2Frole%3Dshadow")
    assert pods is not None
    return {
        "descriptors": len([*(process / "fd").iterdir()]),
        "threads": len([*(process / "task").iterdir()]),
        "Jobs": len(jobs_of(lab)),
        "pods": len([pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]),
        "rss_kb": int(rss),
    }


def test_nothing_adds_up(session: Session, lab: Lab, laptop: Laptop) -> None:
    def lose() -> None:
        kill_in_pod(lab, str(session.connect.status()["pod"]), "sshd-session: ktpy@")
        session.wait_back(NEW_POD_WITHIN_S)  # how soon is another test's

    lose()
    state, once = laptop.network_state(), used(lab)
    for _ in range(12):
        lose()
    often = used(lab)
    # Python's and glibc's allocators keep some 3.5 MB by now, 6 MB after 24 rounds and 8 MB after 60.
    assert often.pop("rss_kb") < once.pop("rss_kb") + 6144
    assert abs(often.pop("descriptors") - once.pop("descriptors")) <= 2  # connections to the API server come and go
    assert often.pop("threads") <= once.pop("threads") + 2  # asyncio's pool makes one when two look-ups coincide
    assert often == once
    assert laptop.network_state() == state
    assert session.connect.status()["link"]["losses"] == 13


PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "interactiveMode": "Never"}


class Account:
    """A service account of which everything may be done, until its tokens are made worthless."""

    NAME = "comes-back"

    def __init__(self, lab: Lab, way: str) -> None:
        """`way` is how ktpy gets a token: by a `plugin`, or from the `kubeconfig` itself."""
        self._lab = lab
        kubeconfigs = Kubeconfigs(lab, self.NAME)
        self._answer = kubeconfigs.text("")
        plugin = PLUGIN | {"args": [str(self._answer)]}
        self.kubeconfig = kubeconfigs.changed(user={"exec": plugin} if way == "plugin" else {"token": "TOKEN"})
        self._text = self.kubeconfig.read_text()
        account = f"{NAMESPACE}:{self.NAME}"
        bound = ("clusterrolebinding", self.NAME, "--clusterrole=cluster-admin", f"--serviceaccount={account}")
        lab.kubectl("delete", *bound[:2], "--ignore-not-found")  # of a run that was broken off
        lab.kubectl("create", *bound)
        self.log_in(self.new_token())

    def new_token(self) -> str:
        """One of an account of the same name: all earlier ones are of one that is gone."""
        for verb, *options in (("delete", "--ignore-not-found"), ("create",)):
            self._lab.kubectl("-n", NAMESPACE, verb, "serviceaccount", self.NAME, *options)
        return self._lab.kubectl("-n", NAMESPACE, "create", "token", self.NAME).strip()

    def log_in(self, token: str) -> None:
        credential = {"apiVersion": PLUGIN["apiVersion"], "kind": "ExecCredential", "status": {"token": token}}
        self._answer.write_text(json.dumps(credential))
        self.kubeconfig.write_text(self._text.replace("TOKEN", token))
        self.token = token

    def is_refused(self) -> bool:
        header = f"Authorization: Bearer {self.token}"
        code = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", header]
        return self._lab.exec([*code, f"{self._lab.layout.server_url}/api"]).stdout == "401"


@pytest.fixture(params=["plugin", "kubeconfig"])
def account(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Account]:
    yield Account(lab, request.param)
    lab.kubectl("delete", "clusterrolebinding", Account.NAME)
    lab.kubectl("-n", NAMESPACE, "delete", "serviceaccount", Account.NAME)


def test_the_credentials_have_expired(account: Account, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    """It says so, and is back once somebody has logged in."""
    running = connect("--namespace", NAMESPACE, "--kubeconfig", str(account.kubeconfig))
    session = Session(running)
    token = account.new_token()
    wait_until(account.is_refused, EXPIRED_WITHIN_S, "the token to be refused")
    kill_in_pod(lab, str(running.status()["pod"]), "sshd-session: ktpy@")
    running.wait_for("ktpy keeps trying.", EXPIRED_WITHIN_S)
    assert "does not accept the credentials" in running.status()["link"]["reason"]
    account.log_in(token)
    session.wait_back(LOGGED_IN_WITHIN_S)
    assert laptop.output("curl", "--silent", "http://web/")
    running.quit()
