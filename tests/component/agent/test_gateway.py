"""The gateway with the real HAProxy, the real sshd and laptops on asyncssh, under load, while things break."""

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.component.agent.gateway_pod import ALL, GatewayPod, Load, get, header, web_server
from tests.component.agent.pod import PATIENCE_S, kill
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]

SLOWEST_S = 8.0
"""A laptop that says nothing is waited for 4 s."""
FOOBAR = {"VERSION": "foobar"}


def unharmed(load: Load) -> None:
    assert load.failures == []
    assert load.slowest_s < SLOWEST_S


def test_without_a_route_the_original_pods_answer(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving():
        assert get(bind) == (200, "origin")


def test_it_is_ready_though_the_original_pods_are_away(pod: GatewayPod, origin: int) -> None:
    with web_server("x") as gone:
        pass
    bind = pod.add_port(gone)
    with pod.serving():
        assert get(bind).status == 503


def test_an_exchange_takes_everything_and_its_end_gives_it_back(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load:
        load.until("origin")
        with pod.laptop("s1", local, {"port": origin, **ALL}):
            load.only("local")
        load.only("origin")
    unharmed(load)


def test_a_mesh_takes_only_its_own(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as others, Load(bind, FOOBAR) as own:
        with pod.laptop("s1", local, {"port": origin, **header("VERSION", exact="foobar")}):
            own.only("local")
        own.only("origin")
    unharmed(others)
    unharmed(own)
    assert set(others.answers) == {"origin"}


def test_two_meshes_and_an_exchange_each_get_their_own(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with ExitStack() as stack:
        stack.enter_context(pod.serving())
        for name, route in [
            ("amy", header("x-user", exact="amy")),
            ("bob", header("x-user", exact="bob")),
            ("all", ALL),
        ]:
            port = stack.enter_context(web_server(name))
            laptop = stack.enter_context(pod.laptop(name, port, {"port": origin, **route}))
            assert laptop.answer
            assert "accepted" in laptop.answer
        assert eventually(lambda: get(bind, headers={"X-User": "bob"}).body == "bob")
        assert eventually(lambda: get(bind, headers={"X-User": "amy"}).body == "amy")
        assert eventually(lambda: get(bind).body == "all")
        assert get(bind, headers={"X-User": "amy2"}).body == "all"


def test_a_killed_laptop_is_not_noticed(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load, pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
        load.only("local")
        laptop.kill()
        load.only("origin")
    unharmed(load)


def test_a_frozen_laptop_costs_no_request_but_some_seconds(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load, pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
        load.only("local")
        laptop.freeze()
        load.only("origin")
    unharmed(load)
    assert load.slowest_s > 2.0  # it was the silence that told


def test_a_local_port_that_closes_and_opens_again(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load:
        with web_server("local") as port:
            laptop = pod.laptop("s1", port, {"port": origin, **ALL})
            route = laptop.__enter__()
            load.only("local")
        load.only("origin")
        with web_server("local", port):
            load.only("local")
            laptop.__exit__(None, None, None)
        assert route.answer
    unharmed(load)


def test_routes_that_come_and_go_all_the_time_are_not_noticed(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as others:
        for number in range(8):
            name = f"s{number}"
            with pod.laptop(name, local, {"port": origin, **header("x-user", exact=name)}) as laptop:
                assert laptop.answer
                assert "accepted" in laptop.answer
    unharmed(others)
    assert set(others.answers) == {"origin"}


def test_a_killed_sshd_comes_back_and_serves_on_meanwhile(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load, pod.laptop("s1", local, {"port": origin, **ALL}):
        load.only("local")
        (sshd,) = pod.processes("/usr/sbin/sshd -D")
        kill(sshd)
        pod.wait_for_log("sshd ended with status -9")
        assert eventually(lambda: bool(pod.processes("/usr/sbin/sshd -D")))
        load.until("local")
        with pod.laptop("s2", local, {"port": origin, **header("a", exact="b")}) as second:
            assert second.answer
            assert "accepted" in second.answer
    unharmed(load)


def test_a_killed_haproxy_comes_back_with_the_routes(pod: GatewayPod, origin: int, local: int) -> None:
    """Its connections are lost, there is no way around that; how long nobody answers is what can be kept short."""
    bind = pod.add_port(origin)
    with pod.serving(), pod.laptop("s1", local, {"port": origin, **ALL}):
        assert eventually(lambda: get(bind).body == "local")
        kill(pod.processes("/usr/sbin/haproxy")[0])
        killed_s = time.monotonic()

        def answers() -> bool:
            try:
                return get(bind).body == "local"
            except OSError:
                return False

        assert eventually(answers)
        assert time.monotonic() - killed_s < 5.0


def test_connections_wait_while_a_killed_container_is_started_again(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with ExitStack() as first, ExitStack() as second, ExitStack() as holders:
        first.enter_context(pod.serving())
        for _ in range(2):  # the second is its successor
            holders.close()
            holder = holders.enter_context(pod.holding())
            assert eventually(
                partial(has_sockets, holder, 4)
            )  # where it listens, the supervisor, the port, and the probe's
        with Load(bind, clients=8) as load:
            before = sockets(holder)
            load.until("origin", 800)  # two seconds
            assert sockets(holder) == before
            first.close()
            second.enter_context(pod.serving(KTPY_DRAIN_S="0.1"))
            load.until("origin")
        assert len(load.failures) <= 8, load.failures  # what was under way
        os.kill(pod.agent_pid, signal.SIGTERM)
        assert pod.exit_status() == 0
        second.close()
        with pytest.raises(ConnectionRefusedError):
            get(bind)
        with pod.serving():
            assert get(bind) == (200, "origin")


def sockets(pid: int) -> set[str]:
    links = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it closes one at this moment
            links.add(str(each.readlink()))
    return {each for each in links if each.startswith("socket:")}


def has_sockets(pid: int, number: int) -> bool:
    return len(sockets(pid)) == number


def test_a_run_directory_that_takes_no_file_for_a_while_ends_nothing(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load:
        candidate = pod.run_dir / "haproxy.new"
        candidate.mkdir()  # cannot be written, as on a full disk
        pod.let_in("s1")
        pod.wait_for_log("authorized sessions: s1")

        def mend() -> None:
            pod.wait_for_log("is tried again: apply failed")
            candidate.rmdir()

        mending = threading.Thread(target=mend)
        mending.start()
        with pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
            assert laptop.answer
            assert "accepted" in laptop.answer
            load.only("local")
        mending.join()
    unharmed(load)


def test_a_session_whose_key_is_taken_away_ends(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load, pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
        load.only("local")
        pod.annotate({})
        while laptop.next_line() is not None:
            pass
        load.only("origin")
    unharmed(load)


def test_a_told_gateway_serves_until_it_is_forgotten_and_then_goes(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(KTPY_DRAIN_S="3.0"):  # longer than a busy machine lets the requests pause
        os.kill(pod.agent_pid, signal.SIGTERM)
        pod.wait_for_log("told to stop: draining")
        told_s = time.monotonic()
        while time.monotonic() < told_s + 4.5:
            assert get(bind) == (200, "origin")
        assert pod.exit_status() == 0


def test_one_that_is_told_to_stop_takes_no_more_laptops(pod: GatewayPod, origin: int, local: int) -> None:
    pod.add_port(origin)
    with pod.serving(KTPY_DRAIN_S="30.0"):  # longer than a busy machine takes to log in
        pod.let_in("s1")
        pod.wait_for_log("authorized sessions: s1")
        os.kill(pod.agent_pid, signal.SIGTERM)
        pod.wait_for_log("told to stop: draining")
        with pod.laptop("s1", local, {"port": origin, **ALL}) as late:
            refused = {"refused": "this gateway of web is about to end", "holder": None, "for_now": True, "udp": True}
            assert late.answer == refused


def test_one_that_is_told_to_stop_before_it_knows_its_service_stops(pod: GatewayPod) -> None:
    os.mkfifo(pod.directory / "podinfo" / "annotations", 0o644)  # nobody writes: it gets no further
    with pod.running():
        assert eventually(lambda: catches_sigterm(pod))
        os.kill(pod.agent_pid, signal.SIGTERM)
        assert pod.exit_status() == 0


def catches_sigterm(pod: GatewayPod) -> bool:
    """SigCgt of proc(5)."""
    masks = [Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0] for pid in pod.main_pids()]
    return any(int(mask, 16) & 1 << signal.SIGTERM - 1 for mask in masks)


def test_the_counters(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), ExitStack() as stack:
        with web_server("local") as port:
            laptop = stack.enter_context(pod.laptop("s1", port, {"port": origin, **ALL}))
            assert eventually(lambda: get(bind).body == "local")
            for _ in range(9):
                get(bind)
            assert laptop.counters(origin, requests=10)["is_up"] is True
        assert eventually(lambda: get(bind).body == "origin")
        for _ in range(9):
            get(bind)
        with pod.laptop("s2", port, {"port": origin, **header("a", exact="b")}):  # a reload forgets no count
            counted = laptop.counters(origin, requests=10, fallbacks=10)
        assert counted["is_up"] is False


def test_a_held_match_is_refused_with_its_holder(pod: GatewayPod, origin: int, local: int) -> None:
    pod.add_port(origin)
    route = {"port": origin, **header("VERSION", exact="foobar")}
    with ExitStack() as stack:
        stack.enter_context(pod.serving())
        stack.enter_context(pod.laptop("s1", local, route, owner="amy"))
        second = stack.enter_context(pod.laptop("s2", local, route, owner="bob"))
        assert second.answer == {
            "refused": f"port {origin} of service web has a mesh with that match by amy already",
            "holder": "amy",
            "for_now": False,
            "udp": True,
        }


def test_a_regex_that_haproxy_does_not_take_is_refused_alone(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), Load(bind) as load, pod.laptop("s1", local, {"port": origin, **ALL}):
        load.only("local")
        with pod.laptop("s2", local, {"port": origin, **header("a", regex="(")}) as second:
            assert second.answer
            assert second.answer["refused"].startswith("HAProxy does not take this match: ")
        load.until("local")
    unharmed(load)


def test_a_laptop_that_comes_back_replaces_itself(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with ExitStack() as stack:
        stack.enter_context(pod.serving())
        new = stack.enter_context(web_server("new"))
        load = stack.enter_context(Load(bind))
        old = stack.enter_context(pod.laptop("s1", local, {"port": origin, **ALL}))
        load.only("local")
        old.freeze()
        back = stack.enter_context(pod.laptop("s1", new, {"port": origin, **ALL}))
        assert back.answer
        assert "accepted" in back.answer
        load.only("new")
        assert eventually(lambda: len(pod.processes("ktpy-agent route")) == 1)  # the old connection is gone
        load.until("new")
    unharmed(load)


def test_a_session_cannot_speak_for_another(pod: GatewayPod, origin: int, local: int) -> None:
    pod.add_port(origin)
    pod.let_in("s1")
    with pod.serving():
        (pod.directory / "identity-s2").write_bytes((pod.directory / "identity-s1").read_bytes())
        (pod.directory / "identity-s2").chmod(0o600)
        with pod.laptop("s2", local, {"port": origin, **ALL}) as laptop:
            assert laptop.answer
            assert laptop.answer["refused"] == "the hello line names another session than the key that logged in"


def test_fail_answers_503_and_says_whose_laptop_is_away(pod: GatewayPod, origin: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), web_server("gone") as port, pod.laptop("s0", port, {"port": origin, **ALL}):
        pass
    with pod.serving(), pod.laptop("s1", port, {"port": origin, **ALL, "when_local_down": "fail"}, owner="amy o'x"):
        assert get(bind) == (
            503,
            f"port {origin} of web is served by amy o'x's laptop, which is away or does not listen now.\n",
        )


def test_a_preview_names_its_owner_when_the_laptop_is_gone(pod: GatewayPod, local: int) -> None:
    bind = pod.add_port(80, has_origin=False)
    with pod.serving():
        assert get(bind) == (503, "preview web: no laptop is connected, so nothing serves port 80 now.\n")
        with pod.laptop("s1", local, {"port": 80, **ALL}, owner="amy"):
            assert eventually(lambda: get(bind).body == "local")
        assert eventually(lambda: "amy" in get(bind).body)
        pod.wait_for_log("gives back")
        text = "preview web: amy's laptop is away, so nothing serves port 80 now.\n"
        assert eventually(lambda: get(bind) == (503, text))


def test_a_burst_of_connections_finds_a_laptop_without_anyone_behind_it(pod: GatewayPod, local: int) -> None:
    """sshd queues 128; the rest is tried again, not refused as if the laptop were away."""
    bind = pod.add_port(80, has_origin=False)
    with pod.serving(), pod.laptop("s1", local, {"port": 80, **ALL}), ExitStack() as stack:
        assert eventually(lambda: get(bind).body == "local")
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", bind), PATIENCE_S)) for _ in range(300)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}


def test_a_port_that_is_taken_ends_the_pod_with_an_error(pod: GatewayPod, origin: int) -> None:
    pod.add_port(origin)
    with web_server("taken", pod.ready_port), pod.running(environment={"KTPY_READY_PORT": str(pod.ready_port)}):
        assert pod.exit_status() == 1


def test_a_pod_without_the_annotation_ends_with_an_error(pod: GatewayPod) -> None:
    pod.spec = None
    pod.annotate({})
    with pod.running():
        assert pod.exit_status(timeout_s=PATIENCE_S) == 1
    pod.wait_for_log("cannot run the gateway: the pod has no annotation ktpy.dev/gateway", timeout_s=0)


def test_where_memory_ends_a_newcomer_is_refused_and_nobody_else_is_harmed(
    pod: GatewayPod, origin: int, local: int
) -> None:
    bind = pod.add_port(origin)
    cgroup = pod.directory / "cgroup"
    cgroup.mkdir()
    (cgroup / "memory.max").write_text(f"{512 << 20}")
    (cgroup / "memory.current").write_text(f"{100 << 20}")
    (cgroup / "memory.stat").write_text("inactive_file 0")
    with pod.serving(KTPY_CGROUP=str(cgroup)), pod.laptop("s1", local, {"port": origin, **header("a", exact="b")}):
        (cgroup / "memory.current").write_text(f"{500 << 20}")
        with pod.laptop("s2", local, {"port": origin, **ALL}) as late:
            assert late.answer
            assert (
                late.answer["refused"]
                == "the gateway of web has 1 routes, and with 12 MiB of memory left takes no more"
            )
        assert eventually(lambda: get(bind, headers={"a": "b"}).body == "local")
        assert get(bind).body == "origin"
