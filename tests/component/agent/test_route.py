"""What one laptop's route is made of in the pod: sshd's processes, and the one that holds the route."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest
from ktpy_agent.route import KEEPER
from ktpy_agent.session import SENDING_S

from tests.component.agent.gateway_pod import ALL, GatewayPod, get, header
from tests.component.agent.pod import anonymous_bytes, descendants, kill
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]

ROUTES = 24
MOST_BYTES_A_ROUTE = 2.5 * (1 << 20)
"""sshd's two processes take 1.9 MB of it with OpenSSH 10; one process of Python's alone would be 5.6 MB."""


def test_a_route_ends_with_the_process_that_holds_it(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
        assert eventually(lambda: get(bind).body == "local")
        (holder,) = pod.processes("ktpy-agent route s1")
        kill(holder)
        while laptop.next_line() is not None:
            pass
        pod.wait_for_log("session s1 of s1 gives back all of port")


def test_a_route_that_ends_leaves_no_process(pod: GatewayPod, origin: int, local: int) -> None:
    pod.add_port(origin)
    with pod.serving():
        idle = len(descendants(pod.agent_pid))
        with pod.laptop("s1", local, {"port": origin, **header("a", exact="b")}) as laptop:
            assert laptop.answer
            assert len(descendants(pod.agent_pid)) > idle
        assert eventually(lambda: len(descendants(pod.agent_pid)) <= idle)


def test_without_a_supervisor_the_ssh_connection_ends(pod: GatewayPod, origin: int) -> None:
    pod.add_port(origin)
    identity = pod.let_in("s1")
    with pod.serving():
        pod.wait_for_log("authorized sessions: s1")
        (pod.run_dir / "control.sock").unlink()
        with pod.ssh(identity) as client:
            _, complaint = client.communicate(b"{}\n", timeout=60)
        assert b"ktpy-agent route ends: [Errno 2] No such file or directory" in complaint


def test_sshd_has_read_why_the_connection_ends_before_it_is_ended() -> None:
    ours, theirs = socket.socketpair()
    telling = [sys.executable, "-c", "from ktpy_agent.session import tell; tell('why')"]
    with (
        ours,
        theirs,
        subprocess.Popen(telling, stderr=theirs.fileno(), env={"PYTHONPATH": ":".join(sys.path)}) as process,
    ):
        assert ours.recv(3, socket.MSG_PEEK) == b"why"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5 * SENDING_S)
        assert ours.recv(3) == b"why"
        assert process.wait(60) == 0


def test_the_holder_ends_nothing_but_its_own_sshd(pod: GatewayPod) -> None:
    """Its sshd may be gone, and the number be another process's by then."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        ours, theirs = socket.socketpair()
        ours.close()
        with theirs:
            subprocess.run(
                ["sh", "-c", KEEPER, "sh", str(bystander.pid)], stdin=theirs.fileno(), check=True, timeout=60
            )
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("name", ["authorized_keys", "haproxy.sock", "control.sock", "host_key", "routes"])
def test_a_laptop_puts_its_socket_over_no_other_file(pod: GatewayPod, origin: int, name: str) -> None:
    pod.add_port(origin)
    identity = pod.let_in("s1")
    with pod.serving():
        pod.wait_for_log("authorized sessions: s1")
        path = pod.run_dir / name
        before = path.stat()
        forward = ["-o", "ExitOnForwardFailure=yes", "-R", f"{path}:127.0.0.1:1"]
        with pod.ssh(identity, *forward) as client:
            _, complaint = client.communicate(timeout=60)
        assert b"remote port forwarding failed" in complaint
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_a_socket_in_the_place_of_a_file_to_be_harms_nobody(pod: GatewayPod, origin: int, local: int) -> None:
    pod.add_port(origin)
    identity = pod.let_in("s1")
    with pod.serving(KTPY_ROUTE_SILENCE_S="60"):
        pod.wait_for_log("authorized sessions: s1")
        paths = [pod.run_dir / name for name in ("haproxy.new", "authorized_keys.new")]
        with pod.ssh(identity, *(word for path in paths for word in ("-R", f"{path}:127.0.0.1:1"))) as client:
            assert eventually(lambda: all(path.is_socket() for path in paths))
            with pod.laptop("s2", local, {"port": origin, **ALL}) as laptop:
                assert laptop.answer
                assert "accepted" in laptop.answer
            client.kill()


def test_a_laptop_that_takes_its_socket_back_may_put_it_there_again(pod: GatewayPod, origin: int) -> None:
    pod.add_port(origin)
    pod.let_in("s1")
    with pod.serving(KTPY_ROUTE_SILENCE_S="60"):
        pod.wait_for_log("authorized sessions: s1")
        asyncio.run(put_it_there_again(pod, origin))


async def put_it_there_again(pod: GatewayPod, port: int) -> None:
    connection, path = await open_route(pod, port, "s1")
    for _ in range(3):
        listener = await connection.start_unix_server(lambda *_: None, path)
        listener.close()
        await listener.wait_closed()
        assert await asyncio.to_thread(eventually, lambda: not Path(path).exists())
    connection.close()


def test_what_a_route_takes_of_the_pods_memory(pod: GatewayPod, origin: int) -> None:
    pod.add_port(origin)
    sessions = [f"s{number}" for number in range(ROUTES)]
    for session in sessions:
        pod.let_in(session)
    with pod.serving(KTPY_ROUTE_SILENCE_S="60"):
        pod.wait_for_log(rf"authorized sessions: .*\b{sessions[-1]}\b")
        taken = asyncio.run(memory_of_routes(pod, origin, sessions))
    assert taken / ROUTES < MOST_BYTES_A_ROUTE


async def memory_of_routes(pod: GatewayPod, port: int, sessions: list[str]) -> int:
    before = memory(pod)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        routes = [tasks.create_task(open_route(pod, port, session)) for session in sessions]
    try:
        return memory(pod) - before
    finally:
        for route in routes:
            route.result()[0].close()


async def open_route(pod: GatewayPod, port: int, session: str) -> tuple[asyncssh.SSHClientConnection, str]:
    """A route that does not beat, and the path of its socket in the pod."""
    identity = str(pod.directory / f"identity-{session}")
    connection = await asyncssh.connect(
        "127.0.0.1", pod.port, username="ktpy", client_keys=[identity], known_hosts=None, config=None
    )
    process = await connection.create_process()
    route = {"port": port, "when_local_down": "origin", **header("x-user", exact=session)}
    hello = {"version": 1, "session": session, "owner": session, "routes": [route]}
    process.stdin.write(json.dumps(hello) + "\n")
    answer = json.loads(await process.stdout.readline())
    return connection, answer["accepted"][0]["socket"]


def memory(pod: GatewayPod) -> int:
    return sum(map(anonymous_bytes, [pod.agent_pid, *descendants(pod.agent_pid)]))
