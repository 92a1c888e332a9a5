"""The lab itself: what others' tests rely on, and that nothing is left when it goes.

Labs of its own, beside the one the other tests share.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, node, resolver_modes
from tests.lab.errors import LabError
from tests.lab.images import COREDNS_IMAGE, PAUSE_IMAGE, WORKLOAD_IMAGE, write_docker_archive
from tests.lab.lab import LAUNCHER
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.namespaces import mount_points
from tests.lab.processes import ProcessRecord, wait_until
from tests.lab.resolved import STUB_RESOLV_CONF

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, mounts and control groups need root")

NAME, OTHER_NAME = "test-lab", "test-lab-2"


def run_verb(name: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(LAUNCHER), "--name", name, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def bring_down(name: str) -> None:
    process = run_verb(name, "down")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def leftovers(lab: Lab) -> list[str]:
    """Everything on this machine that belongs to a lab."""
    layout = lab.layout
    found = [str(path) for path in (layout.state_dir, layout.lock_file) if path.exists()]
    found += [str(path) for path in (layout.node_netns_path, layout.laptop_netns_path) if path.exists()]
    found += [target for target in mount_points() if target.startswith(f"{layout.state_dir}/")]
    found += [str(path) for path in Path("/sys/fs/cgroup").rglob(layout.cgroup_name)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ProcessRecord.of(int(process.name))  # a zombie is gone but for its parent's attention
            if f"/{layout.cgroup_name}/" in (process / "cgroup").read_text():
                found.append(f"{process.name}: {(process / 'cmdline').read_text()}")
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab.ensure_up(NAME)
    yield lab
    bring_down(NAME)
    assert leftovers(lab) == []


@pytest.fixture
def other() -> Iterator[Lab]:
    """A second lab, down at first and at last."""
    other = Lab(OTHER_NAME)
    bring_down(OTHER_NAME)
    yield other
    bring_down(OTHER_NAME)
    assert leftovers(other) == []


def seconds_to_answer(lab: Lab) -> float:
    started = time.monotonic()
    assert lab.api.is_ready()
    return time.monotonic() - started


# --- up and down


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = node.record(lab.layout)
    Lab.ensure_up(NAME)
    assert node.record(lab.layout) == before


def test_status_says_what_runs(lab: Lab) -> None:
    status = lab.status()
    assert (status["state"], status["resolver"], status["round_trip_ms"]) == ("up", "file", 0)


def test_down_of_a_lab_that_never_was_is_no_error(other: Lab) -> None:
    bring_down(OTHER_NAME)
    assert other.status()["state"] == "down"


def test_a_name_that_is_none_is_refused() -> None:
    process = run_verb("../up", "status")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "no name for a lab" in errors


@pytest.mark.timeout(120)
def test_a_second_lab_beside_the_first(lab: Lab, other: Lab) -> None:
    """Started twice at once: one makes it, one waits for it. Then its node dies, and the first does not notice."""
    starts = [run_verb(OTHER_NAME, "up") for _ in range(2)]
    assert [process.communicate(timeout=100) and process.returncode for process in starts] == [0, 0]
    lab.kubectl("create", "namespace", "only-here")
    assert lab.api.get("/api/v1/namespaces/only-here") is not None
    assert other.api.is_ready()
    assert other.api.get("/api/v1/namespaces/only-here") is None

    record = node.record(other.layout)
    assert record is not None
    record.kill()
    assert other.status()["state"] == "broken"
    assert lab.api.is_ready()


def state_made(lab: Lab) -> bool:
    return lab.layout.cgroups_file.exists()


def network_made(lab: Lab) -> bool:
    return lab.layout.laptop_netns_path.exists()


def node_started(lab: Lab) -> bool:
    return node.record(lab.layout) is not None


def laptop_started(lab: Lab) -> bool:
    return resolver_modes.mode_file(lab.layout).exists()


def containers_run(lab: Lab) -> bool:
    return any((lab.layout.node_dir / "pod-logs").glob("kube-system_coredns*"))


@pytest.mark.parametrize("moment", [state_made, network_made, node_started, laptop_started, containers_run])
def test_after_up_was_killed_down_leaves_nothing(other: Lab, moment: Callable[[Lab], bool]) -> None:
    up = run_verb(OTHER_NAME, "up")
    wait_until(lambda: moment(other), 60, moment.__name__)
    up.kill()
    up.communicate()
    bring_down(OTHER_NAME)
    assert leftovers(other) == []


def test_up_after_up_was_killed_starts_afresh(other: Lab) -> None:
    up = run_verb(OTHER_NAME, "up")
    wait_until(lambda: node_started(other), 60, "the node to start")
    up.kill()
    up.communicate()
    Lab.ensure_up(OTHER_NAME)
    assert other.status()["state"] == "up"


def test_down_takes_what_exec_left_running(other: Lab) -> None:
    """A stand-in for a lab whose node failed: the laptop is there, and somebody works on it."""
    up = run_verb(OTHER_NAME, "up")
    wait_until(lambda: laptop_started(other), 60, "the laptop to start")
    up.kill()
    up.communicate()
    sleeper = other.popen(["sleep", "600"])
    bring_down(OTHER_NAME)
    assert sleeper.wait(timeout=5) == -signal.SIGKILL
    sleeper.communicate()


# --- exec


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -KILL $$"], -signal.SIGKILL),
        (["no-such-program"], 127),
        (["/etc/hosts"], 126),
    ],
)
def test_exec_ends_as_its_command_does(lab: Lab, argv: list[str], code: int) -> None:
    assert lab.exec(argv).returncode == code


def test_exec_of_an_unknown_user_is_refused(lab: Lab) -> None:
    done = lab.exec(["true"], user="nobody-at-all")
    assert (done.returncode, "no user" in done.stderr) == (1, True)


def test_exec_of_a_lab_that_is_down_is_refused(other: Lab) -> None:
    done = other.exec(["true"])
    assert (done.returncode, "is not up" in done.stderr) == (1, True)


def test_standard_input_reaches_the_command(lab: Lab) -> None:
    assert lab.exec(["cat"], stdin="hello").stdout == "hello"


def test_a_started_process_is_the_command_itself(lab: Lab) -> None:
    process = lab.popen(["sh", "-c", "echo $$; exec sleep 60"])
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.kill()
    process.communicate()


def test_the_ordinary_user(lab: Lab) -> None:
    script = 'id -un; echo $HOME; test -O "$XDG_RUNTIME_DIR" && echo own; kubectl get namespace default -o name'
    done = lab.exec(["sh", "-c", script], user="dev", check=True)
    assert done.stdout.splitlines() == ["dev", "/home/dev", "own", "namespace/default"]


def test_the_ordinary_user_may_sudo_and_finds_ktpy_there(lab: Lab) -> None:
    done = lab.exec(["sudo", "-n", "sh", "-c", "id -u; echo $SUDO_USER; command -v ktpy"], user="dev", check=True)
    assert done.stdout.splitlines() == ["0", "dev", str(Path(sys.prefix) / "bin" / "ktpy")]


def test_the_projects_python_runs_for_the_ordinary_user(lab: Lab) -> None:
    assert lab.exec(["python", "-c", "import ktpy; print(ktpy.__version__)"], user="dev").returncode == 0


def test_what_the_laptop_writes_stays_there(lab: Lab) -> None:
    places = ["/etc/ktpy-was-here", "/var/lib/ktpy-was-here", "/run/ktpy-was-here", "/root/ktpy-was-here"]
    lab.exec(["touch", *places], check=True)
    assert lab.exec(["ls", *places]).returncode == 0
    assert [place for place in places if Path(place).exists()] == []


@pytest.mark.parametrize("address", ["10.96.0.1", "10.244.0.2", "fd96::1", "fd44::2"])
def test_the_laptop_has_no_route_into_the_cluster(lab: Lab, address: str) -> None:
    done = lab.exec(["ip", "route", "get", address])
    assert (done.returncode, "unreachable" in done.stderr) == (2, True)


def test_a_tun_can_be_opened(lab: Lab) -> None:
    script = (
        "import fcntl, struct; tun = open('/dev/net/tun', 'r+b', buffering=0);"
        "fcntl.ioctl(tun, 0x400454CA, struct.pack('16sH', b'ktpy0', 0x1001));"  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        "print(open('/sys/class/net/ktpy0/type').read().strip())"
    )
    assert lab.exec(["python", "-c", script]).stdout.strip() == "65534"


# --- the cluster


def test_pods_run_talk_and_resolve(lab: Lab) -> None:
    """The workload image has what it should; the cluster's DNS knows all of its zones."""
    script = (
        "python3 -c 'import asyncio, ssl, sqlite3' && which curl socat nc iperf3 > /dev/null && "
        "for name in kubernetes.default a.custom.cluster.local b.custom.corp v4only.outside.example;"
        "do getent ahostsv4 $name | head -1 | cut -d' ' -f1; done"
    )
    output = lab.kubectl(
        "run", "probe", f"--image={WORKLOAD_IMAGE}", "--image-pull-policy=Never", "--restart=Never", "--rm",
        "--attach", "--quiet", "--command", "--", "sh", "-c", script,
    )  # fmt: skip
    assert output.split() == ["10.96.0.1", "192.0.2.7", "192.0.2.7", "192.0.2.11"]


def test_the_cluster_is_dual_stack(lab: Lab) -> None:
    (pod,) = lab.api.get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns")["items"]
    assert [":" in item["ip"] for item in pod["status"]["podIPs"]] == [False, True]


def test_a_user_without_rights_gets_those_that_are_bound(lab: Lab) -> None:
    path = lab.kubeconfig("alice", ["developers"])

    def list_pods() -> subprocess.CompletedProcess[str]:
        return lab.exec(["kubectl", "get", "pods", "-o", "name"], user="dev", env={"KUBECONFIG": str(path)})

    assert "forbidden" in list_pods().stderr
    lab.kubectl("create", "rolebinding", "developers", "--clusterrole=view", "--group=developers")
    try:
        wait_until(lambda: list_pods().returncode == 0, 10, "the binding to count")
    finally:
        lab.kubectl("delete", "rolebinding", "developers")


def test_a_loaded_image_is_there(lab: Lab, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer.tar", "w") as layer:
        layer.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    write_docker_archive(tmp_path / "image.tar", "localhost/loaded:1", tmp_path / "layer.tar", entrypoint=["/empty"])
    lab.load_image(tmp_path / "image.tar")
    images = lab.node("ctr", "--address=/run/containerd/containerd.sock", "-n", "k8s.io", "images", "ls", "-q")
    assert {"localhost/loaded:1", PAUSE_IMAGE, COREDNS_IMAGE, WORKLOAD_IMAGE} <= set(images.split())


def test_what_is_no_image_is_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"no tar at all")
    with pytest.raises(LabError, match="images import"):
        lab.load_image(tmp_path / "image.tar")


def test_the_kubelet_left_the_machines_settings_alone(lab: Lab) -> None:
    """It writes vm.overcommit_memory and others when it starts; the node shows it files of its own."""
    mounts = lab.node("cat", "/proc/self/mountinfo")
    assert " /proc/sys/vm/overcommit_memory " in mounts


# --- how the laptop resolves names


@pytest.fixture
def resolver(lab: Lab) -> Iterator[Callable[[str], None]]:
    machines_own = Path("/etc/resolv.conf").read_bytes()
    yield lab.set_resolver
    lab.set_resolver("file")
    assert Path("/etc/resolv.conf").read_bytes() == machines_own


@pytest.mark.parametrize("mode", resolver_modes.MODES)
def test_names_resolve_in_every_mode(lab: Lab, resolver: Callable[[str], None], mode: str) -> None:
    resolver(mode)
    done = lab.exec(["getent", "ahostsv4", "outside.example"], user="dev")
    assert done.stdout.split()[:1] == ["192.0.2.10"]
    assert lab.exec(["getent", "hosts", "printer"]).stdout.split()[:1] == ["192.0.2.20"]
    assert lab.exec(["getent", "hosts", "absent.example"]).returncode == 2
    assert lab.resolver_mode == mode


@pytest.mark.parametrize(
    ("mode", "question", "answer"),
    [
        ("file", "test -f /etc/resolv.conf -a ! -L /etc/resolv.conf; echo $?", "0"),
        ("symlink", "readlink /etc/resolv.conf", "../run/resolvconf/resolv.conf"),
        ("bind", "grep -c ' /etc/resolv.conf ' /proc/self/mountinfo", "1"),
        ("systemd-resolved", "readlink /etc/resolv.conf", f"../{STUB_RESOLV_CONF.relative_to('/')}"),
    ],
)
def test_every_mode_has_its_form(
    lab: Lab, resolver: Callable[[str], None], mode: str, question: str, answer: str
) -> None:
    resolver(mode)
    assert lab.exec(["sh", "-c", question]).stdout.strip() == answer


def test_resolvectl_is_there_with_its_daemon_only(lab: Lab, resolver: Callable[[str], None]) -> None:
    resolver("systemd-resolved")
    assert "10.99.0.53" in lab.exec(["resolvectl", "dns", "eth0"]).stdout
    resolver("file")
    assert lab.exec(["resolvectl", "status"]).returncode != 0


def test_the_upstream_resolver_remembers_its_questions(lab: Lab) -> None:
    lab.exec(["getent", "ahostsv4", "remember-me.outside.example"])
    assert "udp remember-me.outside.example. A" in lab.resolver_questions()


# --- faults


def test_latency_delays_and_goes_again(lab: Lab) -> None:
    """An answer over a new TLS connection takes three round trips."""
    straight_s = seconds_to_answer(lab)
    try:
        lab.set_latency(100)
        assert 0.3 <= seconds_to_answer(lab) <= 0.3 + straight_s + 0.3
        assert lab.status()["round_trip_ms"] == 100
    finally:
        lab.set_latency(0)
    assert seconds_to_answer(lab) < 0.2


def test_an_impossible_latency_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError):
        lab.set_latency(-1)


def test_a_cut_is_silence_and_then_all_is_well(lab: Lab) -> None:
    cut = run_verb(NAME, "cut", "2")
    link = ["cat", "/sys/class/net/eth0/carrier"]
    wait_until(lambda: lab.exec(link).stdout.strip() == "0", 5, "the laptop to lose its carrier")
    silent = lab.exec(["curl", "--silent", "--insecure", "--max-time", "0.5", f"https://{NODE_IPV4}:{API_PORT}/livez"])
    assert silent.returncode == 28  # timed out: nobody refused
    cut.communicate(timeout=10)
    assert cut.returncode == 0
    wait_until(lab.api.is_ready, 10, "the API server to answer again")
    assert lab.exec(["getent", "ahostsv4", "outside.example"]).returncode == 0
    assert lab.exec(["curl", "-sk", f"https://[fd99::1]:{API_PORT}/livez"]).stdout == "ok"


def test_a_cut_that_is_ended_early_plugs_in_again(lab: Lab) -> None:
    cut = run_verb(NAME, "cut", "600")
    link = ["cat", "/sys/class/net/eth0/carrier"]
    wait_until(lambda: lab.exec(link).stdout.strip() == "0", 5, "the laptop to lose its carrier")
    cut.terminate()
    cut.communicate(timeout=10)
    assert lab.exec(link).stdout.strip() == "1"


def test_the_api_server_comes_back_after_its_restart(lab: Lab) -> None:
    lab.restart_api()
    assert lab.api.is_ready()
    assert "kube-apiserver ended" in (lab.layout.log_dir / "node.log").read_text()
