"""Whatever ends `ktpy connect`, at whatever moment: laptop and cluster are as they were before.

The laptop's links, addresses, routes and everything about its resolver are compared byte for byte. In the cluster
nothing may be left two minutes later, with no one doing anything. The first tests of this module abandon things there,
the last ones look what became of them: in between, others use the time.
"""

import json
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e import processes
from tests.e2e.attempts import attempt
from tests.e2e.faults import silent_server, stranger, unplugged
from tests.e2e.laptop import Laptop
from tests.e2e.sessions import Connecting, ConnectSession, connecting
from tests.lab import Lab, resolver_modes
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "undo"
OPTIONS = ("--namespace", NAMESPACE)
OUTSIDE, OUTSIDE_ADDRESS = "outside.example", "192.0.2.10"
NO_ROUTES = ("--no-dns", "--no-pods", "--exclude", "10.96.0.0/16", "--exclude", "fd96::/108")
MOMENTS = ["cluster ", "pod ", "started", "ssh ", "routes ", "dns "]
"""What `connect` prints while it starts, in this order."""
ASIDE_S = 1.5
"""Names resolve while a killed session's file is still there: its address refuses at once, no time-out of 2 s."""
CLUSTER_CLEAN_S = 120.0
POD_END_S = 20.0
RESOLV_CONF = "'/etc/resolv.conf'"
"""Where the laptop's network state comes to the resolver; links, addresses, routes and rules stand before it."""
LINK_LOST_WITHIN_S = 20.0
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
        """From now on nobody cares for any Job there is. Returns their names."""
        names = self._present()
        assert names is not None, "the API server does not answer"
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


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> Iterator[None]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def abandoned(lab: Lab, namespace: None) -> Iterator[Abandoned]:
    abandoned = Abandoned(lab)
    yield abandoned
    abandoned.stop()


@pytest.fixture(scope="module")
def killed_while_pending(lab: Lab, abandoned: Abandoned) -> Iterator[list[str]]:
    """Jobs whose pods never start, of a ktpy that was killed meanwhile."""
    with silent_server(lab.layout.node_netns_path) as registry:
        session = ConnectSession(lab, *OPTIONS, "--image", f"{NODE_IPV4}:{registry}/none:1")
        try:
            session.wait_for("  pod ")
            processes.kill(lab, "main")
        finally:
            session.close()
        processes.wait_none(lab)
        yield abandoned.all_now()


@pytest.fixture(scope="module")
def frozen(lab: Lab, abandoned: Abandoned, killed_while_pending: list[str]) -> Iterator[ConnectSession]:
    """A session of root that routes nothing, stopped by SIGSTOP: the other tests go on beside it."""
    with connecting(lab, *OPTIONS, *NO_ROUTES, user="root", sudo=False) as session:
        path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job_of(session)}"
        wait_until(
            lambda: "activeDeadlineSeconds" not in lab.api.get(path)["spec"], 5, "the Job's deadline to be lifted"
        )
        main = processes.only(lab, "main", of_root=True)
        main.send(signal.SIGSTOP)
        abandoned.all_now()
        yield session
        if main.record.alive():  # stopped for ever, should its test not have been run
            main.kill()


@pytest.fixture(scope="module", autouse=True)
def _abandon_first(frozen: ConnectSession) -> None:
    """What takes minutes to vanish is abandoned before anything else."""


@pytest.fixture
def resolver(lab: Lab, request: pytest.FixtureRequest) -> str:
    """How the laptop resolves names: by a plain file, where a test does not say otherwise."""
    mode = str(getattr(request, "param", "file"))
    if lab.resolver_mode != mode:
        lab.set_resolver(mode)
    return mode


@pytest.fixture(scope="module", autouse=True)
def _resolver_as_it_was(lab: Lab) -> Iterator[None]:
    yield
    lab.set_resolver("file")


every_resolver = pytest.mark.parametrize("resolver", resolver_modes.MODES, indirect=True)


@pytest.fixture
def before(resolver: str, laptop: Laptop) -> str:
    return laptop.network_state()


@pytest.fixture
def starting(lab: Lab, namespace: None) -> Iterator[Callable[..., ConnectSession]]:
    """A factory of sessions that have just been started; each is ended after the test."""
    with ExitStack() as sessions:

        def start(*options: str) -> ConnectSession:
            session = ConnectSession(lab, *options)
            sessions.callback(session.close)
            return session

        yield start


def outside_name_resolves_within_s(laptop: Laptop) -> float:
    """The machine's own look-ups, as every program makes them."""
    started_s = time.monotonic()
    assert OUTSIDE_ADDRESS in laptop.output("getent", "ahostsv4", OUTSIDE)
    return time.monotonic() - started_s


def recover(laptop: Laptop, *command: str) -> str:
    """What a command says on standard error; it must end well."""
    done = laptop.run(command)
    assert done.returncode == 0, done.stderr
    return done.stderr


def job_of(session: ConnectSession) -> str:
    return str(session.status()["pod"]).rpartition("-")[0]


def exists(lab: Lab, job: str) -> bool:
    return lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job}") is not None


# --- killed while connected


@every_resolver
def test_main_process_killed(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    """The helper puts everything back, with no one doing anything."""
    session = connect(*OPTIONS)
    processes.kill(lab, "main")
    abandoned.all_now()
    processes.wait_none(lab)
    assert laptop.network_state() == before
    assert session.wait_ended() in (-signal.SIGKILL, 128 + signal.SIGKILL)  # sudo's, as its command's


@every_resolver
def test_both_killed(
    resolver: str, before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    assert outside_name_resolves_within_s(laptop) < ASIDE_S
    vanished_by_itself = before if resolver == "systemd-resolved" else before.partition(RESOLV_CONF)[0]
    wait_until(lambda: laptop.network_state().startswith(vanished_by_itself), 5, "what dies with its processes to go")
    said = recover(laptop, "ktpy", "status")
    assert RECOVERED in said
    assert laptop.network_state() == before
    assert recover(laptop, "ktpy", "status") == ""


@pytest.mark.parametrize("command", [["ktpy", "quit"], ["sudo", "ktpy", "clean"]], ids=["quit", "clean"])
def test_every_command_restores(
    command: list[str], before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    done = laptop.run(command)
    assert RECOVERED in done.stdout + done.stderr
    assert "/etc/resolv.conf" in done.stdout + done.stderr
    assert laptop.network_state() == before


def test_the_next_connect_restores(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    session = connect(*OPTIONS)
    assert RECOVERED in session.output
    session.quit()
    assert laptop.network_state() == before


def test_what_somebody_else_has_changed_is_left_to_him(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    """A DHCP client, say, that wrote its file over ours: ktpy must not bring an old one back."""
    connect(*OPTIONS)
    lab.exec(["sh", "-c", "echo nameserver 10.99.0.53 > /etc/resolv.conf"], check=True)
    try:
        processes.kill(lab, "main", "helper")
        abandoned.all_now()
        assert "/etc/resolv.conf is not what ktpy wrote any more" in recover(laptop, "ktpy", "status")
        assert laptop.output("cat", "/etc/resolv.conf") == "nameserver 10.99.0.53\n"
    finally:
        lab.set_resolver("file")


@pytest.fixture(scope="module")
def eve(lab: Lab) -> Iterator[str]:
    """A user who may do `sudo ktpy`, but has no sudo without a password for anything else."""
    ktpy = lab.exec(["sh", "-c", "command -v ktpy"], check=True).stdout.strip()
    with stranger(lab, sudo_commands=ktpy) as name:
        yield name


@pytest.fixture(scope="module")
def eves(lab: Lab) -> tuple[str, ...]:
    """The options with which eve connects."""
    return (*OPTIONS, "--kubeconfig", str(lab.kubeconfig("eve", ["system:masters"])))


@pytest.mark.parametrize("roles", [["helper"], ["helper", "main"]], ids=["helper", "both"])
def test_who_needs_a_password_is_told_what_to_do(
    roles: list[str],
    before: str,
    lab: Lab,
    laptop: Laptop,
    eve: str,
    eves: tuple[str, ...],
    abandoned: Abandoned,
) -> None:
    """Nothing asks for a password unasked; until somebody cleans up, names resolve."""
    with connecting(lab, *eves, user=eve) as session:
        processes.kill(lab, *roles)
        if roles == ["helper"]:
            assert session.wait_ended() == 35
            assert "note      Still there: /etc/resolv.conf" in session.output
        abandoned.all_now()
        said = lab.exec(["ktpy", "status"], user=eve).stderr
        assert "An earlier ktpy was killed and left: /etc/resolv.conf" in said
        assert "`sudo ktpy clean`" in said
        assert outside_name_resolves_within_s(laptop) < ASIDE_S
        assert RECOVERED in lab.exec(["sudo", "ktpy", "clean"], user=eve, check=True).stdout
        assert laptop.network_state() == before


# --- killed while it starts


@pytest.mark.parametrize("roles", [["main"], ["helper", "main"]], ids=["main", "both"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_starts(
    moment: str,
    roles: list[str],
    before: str,
    lab: Lab,
    laptop: Laptop,
    starting: Callable[..., ConnectSession],
    abandoned: Abandoned,
) -> None:
    session = starting(*OPTIONS)
    session.wait_for(f"  {moment}" if moment.endswith(" ") else moment)
    processes.kill(lab, *roles)
    processes.wait_none(lab)
    abandoned.all_now()
    recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before


# --- killed in the background


@pytest.fixture
def detached(lab: Lab, laptop: Laptop, before: str, namespace: None) -> Iterator[str]:
    """A session in the background; yields the Job's name. `before` is from before it."""
    said = laptop.output("sudo", "ktpy", "connect", "--detach", *OPTIONS)
    assert "connected to " in said
    [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
    yield str(session["pod"]).rpartition("-")[0]
    laptop.run(["ktpy", "quit"])


def test_detached_main_process_killed(
    before: str, detached: str, lab: Lab, laptop: Laptop, abandoned: Abandoned
) -> None:
    processes.kill(lab, "main")
    abandoned.all_now()
    processes.wait_none(lab)
    assert laptop.network_state() == before


def test_detached_both_killed(before: str, detached: str, lab: Lab, laptop: Laptop, abandoned: Abandoned) -> None:
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    assert RECOVERED in recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before


# --- the link is lost


def test_link_cut(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    session = connect(*OPTIONS)
    with unplugged(lab):
        started_s = time.monotonic()
        assert session.wait_ended() == 40, session.output
        assert time.monotonic() - started_s < LINK_LOST_WITHIN_S
    assert "removes itself within two minutes" in session.output
    abandoned.all_now()
    assert laptop.network_state() == before


def test_api_server_restarts(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    """All connections break at once, the tunnel's with them; ktpy itself deletes the Job, if it can."""
    session = connect(*OPTIONS)
    lab.restart_api()
    assert session.wait_ended() == 40, session.output
    abandoned.all_now()
    assert laptop.network_state() == before


# --- the helper is killed: ktpy itself still cleans up in the cluster, as in all that follows


@every_resolver
def test_helper_killed(before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    """Another helper undoes what it did, for user dev's sudo wants no password."""
    session = connect(*OPTIONS)
    job = job_of(session)
    processes.kill(lab, "helper")
    assert session.wait_ended() == 35, session.output
    assert "helper died" in session.output
    assert "In place of the dead helper: undone: " in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


def test_helper_killed_while_it_starts(
    before: str, lab: Lab, laptop: Laptop, starting: Callable[..., ConnectSession]
) -> None:
    session = starting(*OPTIONS)
    session.wait_for("  pod ")
    processes.kill(lab, "helper")
    assert session.wait_ended() == 35
    assert "helper" in session.output
    recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before


# --- it is told to end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@every_resolver
def test_signal(number: signal.Signals, before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    session = connect(*OPTIONS)
    job = job_of(session)
    processes.only(lab, "main").send(number)
    assert session.wait_ended() == 0, session.output
    assert "Disconnected; everything is undone." in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_while_it_starts(
    moment: str, before: str, lab: Lab, laptop: Laptop, starting: Callable[..., ConnectSession]
) -> None:
    session = starting(*OPTIONS)
    session.wait_for(f"  {moment}" if moment.endswith(" ") else moment)
    processes.only(lab, "main").send(signal.SIGINT)
    is_late = session.wait_ended() == 0
    assert ("\nconnected to " in session.output) if is_late else session.process.returncode == 128 + signal.SIGINT
    assert "everything is undone" in session.output
    assert laptop.network_state() == before
    processes.wait_none(lab)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_detached_signal(number: signal.Signals, before: str, detached: str, lab: Lab, laptop: Laptop) -> None:
    processes.only(lab, "main").send(number)
    processes.wait_none(lab)
    assert laptop.network_state() == before
    assert not exists(lab, detached)


def test_detached_quit(before: str, detached: str, lab: Lab, laptop: Laptop) -> None:
    """When the command is back, all is undone."""
    assert "as before" in laptop.output("ktpy", "quit")
    assert laptop.network_state() == before
    assert not exists(lab, detached)
    processes.wait_none(lab)


@pytest.mark.parametrize("command", [["sudo", "ktpy"], ["ktpy"]], ids=["sudo", "no-sudo"])
@pytest.mark.parametrize("way", ["Ctrl-C", "closed"])
def test_terminal(command: list[str], way: str, before: str, lab: Lab, laptop: Laptop, namespace: None) -> None:
    controller, terminal = os.openpty()
    connect = ["setsid", "--ctty", "--wait", *command, "connect", *OPTIONS]
    process = lab.popen(connect, user="dev", stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    try:
        wait_for_on(controller, ", process ")
        if way == "Ctrl-C":
            os.write(controller, b"\x03")
            wait_for_on(controller, "everything is undone")
            assert process.wait(20) == 0
    finally:
        os.close(controller)
    processes.wait_none(lab)
    process.wait(20)
    assert laptop.network_state() == before


def wait_for_on(controller: int, text: str, timeout_s: float = 30.0) -> None:
    """Wait until the terminal shows `text`."""
    shown, deadline_s = "", time.monotonic() + timeout_s
    while text not in shown:
        readable, _, _ = select.select([controller], [], [], deadline_s - time.monotonic())
        assert readable, f"no {text!r} within {timeout_s:g} s; the terminal shows:\n{shown}"
        shown += os.read(controller, 4096).decode(errors="replace")


# --- the pod is lost


def test_pod_deleted(before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    session = connect(*OPTIONS)
    job = job_of(session)
    lab.kubectl("-n", NAMESPACE, "delete", "pod", "-l", f"job-name={job}", "--wait=false")
    assert session.wait_ended() == 25, session.output
    assert "was deleted" in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


@pytest.mark.parametrize(("title", "exit_codes"), [("sshd-session: ktpy", {40}), ("sshd: /usr/sbin/sshd", {25, 40})])
def test_sshd_killed_in_the_pod(
    title: str, exit_codes: set[int], before: str, lab: Lab, laptop: Laptop, connect: Connecting
) -> None:
    session = connect(*OPTIONS)
    job = job_of(session)
    for pid in pod_processes(lab, job, title):
        os.kill(pid, signal.SIGKILL)
    assert session.wait_ended() in exit_codes, session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


def pod_processes(lab: Lab, job: str, title: str) -> list[int]:
    """Processes of the Job's pod whose command line begins so, by the machine's pids."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=job-name%3D{job}"
    uid = lab.api.get(path)["items"][0]["metadata"]["uid"].replace("-", "")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            in_pod = uid in (process / "cgroup").read_text().replace("_", "").replace("-", "")
            if in_pod and (process / "cmdline").read_bytes().startswith(title.encode()):
                found.append(int(process.name))
    assert found, f"no {title} in the pod"
    return found


# --- another user of the same laptop


def test_another_user_is_refused(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, eve: str, eves: tuple[str, ...]
) -> None:
    session = connect(*OPTIONS)
    during = laptop.network_state()
    refused = attempt(lab, *eves, user=eve)
    assert refused.exit_code == 30
    assert re.search(r"10\.96\.0\.0/16 on ktpy\d", refused.message)
    assert "Another `ktpy connect`" in refused.hint
    assert laptop.network_state() == during
    assert session.status()["state"] == "connected"


# --- two minutes later


def test_the_frozen_session_was_ended_in_the_cluster(
    frozen: ConnectSession, lab: Lab, abandoned: Abandoned, before: str
) -> None:
    """Thawed, it finds its link gone, and undoes what it did."""
    lifetimes_s = abandoned.lifetimes_s()
    assert max(lifetimes_s.values()) < CLUSTER_CLEAN_S, lifetimes_s
    main = processes.only(lab, "main", of_root=True)
    main.send(signal.SIGCONT)
    assert frozen.wait_ended() in (25, 40), frozen.output
    assert not processes.of(lab, of_root=True)


def test_nothing_is_left_in_the_cluster(killed_while_pending: list[str], lab: Lab, abandoned: Abandoned) -> None:
    lifetimes_s = abandoned.lifetimes_s()
    assert set(killed_while_pending) <= set(lifetimes_s)
    assert max(lifetimes_s.values()) < CLUSTER_CLEAN_S, lifetimes_s
    kinds = "jobs,pods,secrets,configmaps,services,leases,roles,rolebindings"
    wait_until(lambda: not all_of_ktpy(lab, kinds), POD_END_S, "pods of sessions that have just ended to go")


def all_of_ktpy(lab: Lab, kinds: str) -> str:
    return lab.kubectl("get", kinds, "-A", "-o", "name", "-l", "app.kubernetes.io/managed-by=ktpy")
