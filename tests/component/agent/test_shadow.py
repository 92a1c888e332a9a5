"""The supervisor with a real sshd and real SSH clients."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.wire.session import ECHO
from tests.component.agent.pod import AGENT_IMAGE, PATIENCE_S, Pod, kill, make_identity
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
]

LONG_ENOUGH_TO_LOG_IN_S = 6.0
"""Without a session a pod ends, and on a busy machine it takes seconds to have one."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """pytest's own temporary directories are closed to other users, and the pod's user is another."""
    path = Path(tempfile.mkdtemp(prefix="ktpy-agent-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "identity"
    make_identity(path)
    return path


@pytest.fixture
def pod(directory: Path, identity: Path) -> Pod:
    """One that lets `identity` in."""
    pod = Pod(directory)
    pod.annotate({"s1": identity.with_suffix(".pub").read_text().strip()})
    return pod


def greeting(client: subprocess.Popen[bytes]) -> dict[str, object]:
    assert client.stdout
    line = client.stdout.readline()
    assert line, client.communicate()[1]
    hello: dict[str, object] = json.loads(line)
    return hello


def end(client: subprocess.Popen[bytes]) -> None:
    client.kill()
    client.communicate()


def test_hello_over_a_connection_whose_host_key_the_log_named(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity)
        assert greeting(client)["version"] == 1
        end(client)


def test_whatever_the_client_asks_to_run_it_gets_the_session(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity, "-o", "RemoteCommand=cat /etc/passwd")
        assert greeting(client)["version"] == 1
        end(client)


def test_what_comes_is_sent_back_where_that_is_asked_for(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        assert pod.ssh(identity, "-o", f"RemoteCommand={ECHO}").communicate(bytes(1 << 20))[0] == bytes(1 << 20)


def test_nothing_but_a_port_forward_reaches_sshd(pod: Pod) -> None:
    """A port-forward arrives on the pod's loopback, and there alone sshd listens."""
    with pod.running():
        pod.wait_until_listening()
        sockets = [
            line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()
        ]
    listening = {local for _, local, _, state, *_ in sockets if state == "0A" and local.endswith(f":{pod.port:04X}")}
    assert listening
    assert listening <= {f"0100007F:{pod.port:04X}", f"{'0' * 24}01000000:{pod.port:04X}"}


def test_a_stranger_is_refused(pod: Pod, tmp_path: Path) -> None:
    make_identity(tmp_path / "stranger")
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(tmp_path / "stranger")
        assert client.communicate()[1].startswith(b"ktpy@127.0.0.1: Permission denied (publickey)")


def test_a_key_that_is_added_may_log_in_soon(pod: Pod, identity: Path, tmp_path: Path) -> None:
    second = make_identity(tmp_path / "second")
    with pod.running():
        pod.wait_until_listening()
        pod.annotate({"s1": identity.with_suffix(".pub").read_text().strip(), "s2": second})
        pod.wait_for_log("authorized sessions: s1 s2", timeout_s=5.0)
        client = pod.ssh(tmp_path / "second")
        assert greeting(client)["version"] == 1
        end(client)


def test_a_key_that_is_removed_is_refused_from_then_on(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        pod.annotate({})
        pod.wait_for_log("authorized sessions: none", timeout_s=5.0)
        assert b"Permission denied" in pod.ssh(identity).communicate()[1]


def test_connections_are_opened_from_the_pod(pod: Pod, identity: Path) -> None:
    with pod.running(), socket.create_server(("127.0.0.1", 0)) as target:
        pod.wait_until_listening()
        client = pod.ssh(identity, "-W", f"127.0.0.1:{target.getsockname()[1]}")
        target.settimeout(PATIENCE_S)
        connection, _ = target.accept()
        with connection:
            connection.sendall(b"through the pod\n")
            assert client.stdout
            assert client.stdout.readline() == b"through the pod\n"
        end(client)


def test_nothing_may_listen_in_the_pod_for_a_laptop(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1")
        assert b"remote port forwarding failed" in client.communicate()[1]


def test_silence_ends_the_connection(pod: Pod, identity: Path) -> None:
    with pod.running(silence_s=0.3):
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        assert client.wait(PATIENCE_S) != 0
        end(client)


def test_silence_ends_every_forward_of_the_connection(pod: Pod, identity: Path) -> None:
    """The laptop's process may be frozen: what it holds open must not be what keeps the pod."""
    with pod.running(silence_s=0.3):
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        client.send_signal(signal.SIGSTOP)
        assert eventually(lambda: not pod.processes("sshd: ktpy") and not pod.processes("sshd-session: ktpy"))
        end(client)


def test_the_end_of_the_beats_ends_the_connection_at_once(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        assert client.stdin
        client.stdin.close()
        assert client.wait(PATIENCE_S) != 0


def test_without_a_session_from_the_start_the_pod_ends_well(pod: Pod) -> None:
    with pod.running(idle_s=0.3):
        assert pod.exit_status() == 0


def test_a_session_keeps_the_pod(pod: Pod, identity: Path) -> None:
    with pod.running(idle_s=LONG_ENOUGH_TO_LOG_IN_S):
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        with pytest.raises(subprocess.TimeoutExpired):
            pod.exit_status(timeout_s=1.5 * LONG_ENOUGH_TO_LOG_IN_S)
        end(client)


def test_the_pod_ends_well_after_its_last_session(pod: Pod, identity: Path) -> None:
    with pod.running(idle_s=LONG_ENOUGH_TO_LOG_IN_S):
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        end(client)
        assert pod.exit_status() == 0


def test_a_killed_session_process_is_no_session(pod: Pod, identity: Path) -> None:
    with pod.running(idle_s=LONG_ENOUGH_TO_LOG_IN_S):
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        (session,) = pod.processes("ktpy-agent session")
        kill(session)
        assert pod.exit_status() == 0
        end(client)


def test_a_connection_without_a_session_does_not_keep_the_pod(pod: Pod, identity: Path) -> None:
    with pod.running(idle_s=1.0), socket.create_server(("127.0.0.1", 0)) as target:
        pod.wait_until_listening()
        client = pod.ssh(identity, "-W", f"127.0.0.1:{target.getsockname()[1]}")
        assert pod.exit_status() == 0
        end(client)


def test_a_dead_sshd_ends_the_pod_with_an_error(pod: Pod) -> None:
    with pod.running():
        pod.wait_until_listening()
        (sshd,) = pod.processes("/usr/sbin/sshd -D")
        kill(sshd)
        assert pod.exit_status() == 1
    pod.wait_for_log("^ktpy-agent sshd ended with status -9$", timeout_s=0)


def test_a_port_that_is_taken_ends_the_pod_with_an_error(pod: Pod) -> None:
    with (
        socket.create_server(("127.0.0.1", pod.port)),
        socket.create_server(("::1", pod.port), family=socket.AF_INET6),
        pod.running(),
    ):
        assert pod.exit_status() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_pod_promptly_and_well(pod: Pod, number: signal.Signals) -> None:
    with pod.running():
        pod.wait_until_listening()
        os.kill(pod.agent_pid, number)
        assert pod.exit_status(timeout_s=10.0) == 0


def test_a_signal_is_heeded_while_sessions_are_live(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        os.kill(pod.agent_pid, signal.SIGTERM)
        assert pod.exit_status(timeout_s=10.0) == 0
        end(client)


def test_no_process_stays_unreaped(pod: Pod, identity: Path) -> None:
    """Sessions that are killed leave orphans, and pid 1 inherits them."""
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity)
        greeting(client)
        for connection in pod.processes("sshd: ktpy") + pod.processes("sshd-session: ktpy"):
            kill(connection)
        client.wait(PATIENCE_S)
        # The relay of connections and sshd's listener; a zombie would count.
        assert eventually(lambda: len(pod.processes("")) == 2)
        end(client)


def test_the_relay_of_connections_is_started_again(pod: Pod) -> None:
    with pod.running():
        pod.wait_until_listening()
        [relay] = pod.processes("ktpy-agent shadow")
        kill(relay)
        assert eventually(lambda: pod.processes("ktpy-agent shadow") not in ([], [relay]))


def test_a_restarted_container_starts_over_what_the_last_one_left(pod: Pod, identity: Path) -> None:
    """The emptyDir outlives the container: host key, socket and authorized keys of the first are in the way."""
    with pod.running():
        pod.wait_until_listening()
        os.kill(pod.agent_pid, signal.SIGKILL)
        pod.exit_status()
    pod.log.clear()
    with pod.running():
        pod.wait_until_listening()
        client = pod.ssh(identity)
        assert greeting(client)["version"] == 1
        end(client)


def test_many_sessions_at_once(pod: Pod, identity: Path) -> None:
    with pod.running():
        pod.wait_until_listening()
        clients = [pod.ssh(identity) for _ in range(10)]
        assert [greeting(client)["version"] for client in clients] == [1] * 10
        assert len(pod.processes("ktpy-agent session")) == 10
        for client in clients:
            end(client)


def test_a_wrong_call_shows_the_usage() -> None:
    done = subprocess.run([str(AGENT_IMAGE / "ktpy-agent"), "sail"], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: ktpy-agent shadow")
