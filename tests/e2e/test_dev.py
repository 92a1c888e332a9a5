"""`ktpy dev` on the lab: workloads of every kind are developed, under load, and are given back to the byte."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from ktpy.cluster import rbac
from ktpy.errors import RouteTaken
from tests.e2e.kit.faults import unplugged
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import getter, until_nothing_of_ktpys, until_only_reached, until_reached
from tests.e2e.kit.workloads import Manifest, applied, code, container, deployment, service
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import visiting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "alice@example.org"
HERE = ("--namespace", NAMESPACE)
SERVER = ("python3", "/code/server.py", "http")
COUNTED = ("resourceVersion", "generation")
SOURCES = "/home/dev/src"
KEPT_FOLDER = "/var/lib/kubelet/kept"
"""On the node, whose own this folder is."""
FORWARDED, REVERSED, BACK, DEBUGGED = range(18080, 18084)
PORTS = ("--forward", f"{FORWARDED}", "--reverse", f"{REVERSED}:{BACK}")
HOSTS = "/spec/template/spec/hostAliases"
PATCHES = [
    {"patch": '{"spec": {"template": {"spec": {"containers": [{"name": "nocalhost-sidecar"}]}}}}'},
    {"patch": '{"spec": {"template": {"spec": {"containers": [{"name": "nocalhost-dev", "tty": true}]}}}}'},
    {"type": "json", "patch": [{"op": "add", "path": HOSTS, "value": [{"ip": "192.0.2.9", "hostnames": ["patched"]}]}]},
]
CONFIGURATION = {
    "dev.nocalhost": json.dumps(
        {"containers": [{"dev": {"env": [{"name": "COLOUR", "value": "red"}], "patches": PATCHES}}]}
    )
}
SWITCHED_OFF = "is switched off"
SOON_S = 120.0
SERVE = ("statefulset", "replicaset", "daemonset", "pod")
"""Kinds beside the Deployment whose pods are asked by others."""


def answering(name: str, answer: str) -> Manifest:
    """A Deployment whose pods answer so, and end slowly, as pods should."""
    made = container(name, *SERVER, answer, ports={"http": 8080})
    made["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    pods = deployment(name, made, code="server")
    pods["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10
    return pods


def till() -> list[Manifest]:
    """Service till with two pods, and never fewer by its autoscaler."""
    pods = answering("till", "till")
    pods["spec"]["replicas"] = 2
    return [
        code("server", server=REPOSITORY / "tests/demo/server.py"),
        pods,
        service("till", {"port": 80, "targetPort": 8080}),
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "till"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"},
                "minReplicas": 2,
                "maxReplicas": 3,
            },
        },
    ]


def keeps_still(autoscaler: Manifest) -> bool:
    """It has seen that it has nothing to scale."""
    conditions = autoscaler.get("status", {}).get("conditions", [])
    return any(one["type"] == "ScalingActive" and one["reason"] == "ScalingDisabled" for one in conditions)


def kept_volume() -> Manifest:
    """The one volume of storage class kept: a folder of the node."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "kept"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "kept",
            "capacity": {"storage": "1Mi"},
            "hostPath": {"path": KEPT_FOLDER},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }


def of_every_kind() -> dict[str, Manifest]:
    """Workloads by their kinds; those of SERVE answer with their kinds, jobs do nothing."""
    pods = {kind: answering(f"a-{kind}", kind)["spec"] for kind in SERVE}
    idle: Manifest = deployment("idle", container("idle", "sleep", "infinity"))["spec"]["template"]["spec"]
    once = {"spec": {**idle, "restartPolicy": "Never"}}
    specs: dict[str, tuple[str, Manifest]] = {
        "StatefulSet": ("apps/v1", {**pods["statefulset"], "serviceName": "a-statefulset"}),
        "ReplicaSet": ("apps/v1", pods["replicaset"]),
        "DaemonSet": ("apps/v1", pods["daemonset"]),
        "CronJob": ("batch/v1", {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}}),
        "Job": ("batch/v1", {"template": once}),
        "Pod": ("v1", pods["pod"]["template"]["spec"]),
    }
    return {
        kind.lower(): {
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": f"a-{kind.lower()}",
                "labels": {"team": "a", "app": f"a-{kind.lower()}"},
                "annotations": CONFIGURATION,
            },
            "spec": spec,
        }
        for kind, (version, spec) in specs.items()
    }


def path_of(kind: str, name: str) -> str:
    groups = {"pod": "/api/v1", "job": "/apis/batch/v1", "cronjob": "/apis/batch/v1"}
    groups["horizontalpodautoscaler"] = "/apis/autoscaling/v2"
    return f"{groups.get(kind, '/apis/apps/v1')}/namespaces/{NAMESPACE}/{kind}s/{name}"


def essence(item: dict[str, Any]) -> list[str]:
    """All of an object but what the API server counts, and its status."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in COUNTED}
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in metadata["managedFields"]
        if entry.get("subresource") != "status"
    ]
    metadata.get("annotations", {}).pop("deprecated.daemonset.template.generation", None)
    return json.dumps({"metadata": metadata, "spec": item["spec"]}, sort_keys=True, indent=1).splitlines()


@contextmanager
def as_before(lab: Lab, *paths: str) -> Iterator[None]:
    """The objects are after the block what they were before, and nothing of ktpy's is left."""
    until_nothing_of_ktpys(lab)
    before = [essence(lab.api.get(path)) for path in paths]
    yield
    assert [essence(lab.api.get(path)) for path in paths] == before
    until_nothing_of_ktpys(lab)


@contextmanager
def developing(lab: Lab, *options: str, command: Sequence[str] = ("sleep", "infinity")) -> Iterator[Foreground]:
    session = Foreground(lab, ["ktpy", "dev", "start", *options, *HERE, "--", *command])
    try:
        yield session
    finally:
        if session.process.poll() is None:
            session.process.terminate()
        session.end()


def ask(port: int) -> list[str]:
    """The command of a program that prints what a port of its loopback says."""
    asking = f"import socket; print(socket.create_connection(('127.0.0.1', {port})).recv(9).decode(), end='')"
    return ["python3", "-c", asking]


def typed(lab: Lab, keys: str, *command: str) -> tuple[int, str]:
    """Run a command on a terminal of 31 lines and type; its exit code, and what the terminal shows."""
    main, secondary = os.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    with subprocess.Popen(
        lab.command(command, user="dev"), stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True
    ) as process:
        os.close(secondary)
        shown = b""
        while b"$ " not in shown:
            shown += os.read(main, 4096)
        os.write(main, keys.encode())
        try:
            while part := os.read(main, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(main)
    return process.returncode, shown.decode()


def test_a_deployment_is_replaced_under_load_and_given_back(lab: Lab, laptop: Laptop, shop: Shop) -> None:
    with applied(lab, NAMESPACE, *till()):
        address, path = shop.service("till").ipv4, path_of("deployment", "till")
        get = getter(lab, address)
        until_reached(get, "till")
        autoscaler = path_of("horizontalpodautoscaler", "till")
        with as_before(lab, path, autoscaler), visiting(lab.layout.node_netns_path, address) as visitors:
            with developing(lab, "till", command=(*SERVER, "mine")) as session:
                session.wait_for(SWITCHED_OFF)
                until_only_reached(get, "mine")
                wait_until(lambda: keeps_still(lab.api.get(autoscaler)), SOON_S, "the autoscaler to keep still")
                assert lab.api.get(path)["spec"]["replicas"] == 0
                [listed] = json.loads(laptop.output("ktpy", "dev", "list", *HERE, "--output", "json"))["sessions"]
                assert (listed["workload"], listed["mode"], listed["is_live"]) == ("deployment/till", "replace", True)
                again = laptop.run(["ktpy", "dev", "start", "till", *HERE, "--", "true"])
                assert again.returncode == 54, again.stderr
                done = laptop.run(["ktpy", "dev", "run", "till", *HERE, "--", "sh", "-c", "id -u; exit 7"])
                assert (done.returncode, done.stdout) == (7, "65534\n"), done.stderr
                waiting = ("sh", "-c", "trap 'exit 9' INT; echo it waits; while :; do sleep 0.1; done")
                interrupted = Foreground(lab, ["ktpy", "dev", "run", "till", *HERE, "--", *waiting])
                interrupted.wait_for("it waits")
                os.kill(interrupted.process.pid, signal.SIGINT)
                assert interrupted.wait_ended() == 9, interrupted.output
                logs = ("ktpy", "dev", "logs", "till", *HERE)
                expected = {"it waits", f"==> {' '.join(waiting)} ended with 9 <=="}
                expected.add(f"==> {' '.join((*SERVER, 'mine'))} <==")
                wait_until(lambda: expected < set(laptop.output(*logs).splitlines()), SOON_S, f"{expected} in the log")
                code_, shown = typed(lab, "stty size; exit 5\n", "ktpy", "dev", "terminal", "till", *HERE)
                assert (code_, "31 97" in shown) == (5, True), shown
                ended = laptop.run(["ktpy", "dev", "end", "till", *HERE])
                assert ended.returncode == 0, ended.stderr
                assert session.wait_ended() == 0, session.output
            until_only_reached(get, "till")
        assert visitors.failures() == [], f"{visitors.story()}\n{session.output}"


def test_a_session_that_was_killed_is_undone_by_the_next_command(lab: Lab, laptop: Laptop) -> None:
    with as_before(lab, path_of("deployment", "catalog")):
        with developing(lab, "catalog", command=(*SERVER, "mine")) as session:
            session.wait_for(SWITCHED_OFF)
            session.kill()
        assert "is undone" in laptop.run(["ktpy", "clean", *HERE]).stdout
        wait_until(
            lambda: lab.api.get(path_of("deployment", "catalog"))["status"].get("readyReplicas") == 1,
            SOON_S,
            "it to serve",
        )


def test_an_edited_file_is_in_the_answer_that_another_pod_gets(lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """The README's loop."""
    edit = f"mkdir -p {SOURCES} && cd {SOURCES} && echo"
    lab.exec(["sh", "-c", f"rm -rf {SOURCES}; {edit} one > index.html"], user="dev", check=True)
    get = getter(lab, shop.service("catalog").ipv4)
    with as_before(lab, path_of("deployment", "catalog")):
        serving = ("python3", "-m", "http.server", "8080")
        with developing(lab, "catalog", "--sync", SOURCES, command=serving) as session:
            session.wait_for(SWITCHED_OFF)
            until_only_reached(get, "one")
            lab.exec(["sh", "-c", f"{edit} two > index.html"], user="dev", check=True)
            synced = json.loads(laptop.output("ktpy", "dev", "sync", "catalog", *HERE, "--output", "json"))["sync"]
            assert (synced["state"], synced["entries"], synced["problems"]) == ("in step", 1, [])
            assert get() == "two"
            [told] = json.loads(laptop.output("ktpy", "dev", "status", "catalog", *HERE, "-o", "json"))["sessions"]
            assert (told["sync"]["state"], told["sync"]["entries"]) == ("in step", 1)
            assert laptop.output("ktpy", "run", *HERE, "--", "curl", "-s", "http://catalog/") == "two\n"
            laptop.output("ktpy", "dev", "end", "catalog", *HERE)
            assert session.wait_ended() == 0, session.output


def test_a_program_a_folder_and_a_connection_outlive_the_cable(lab: Lab, laptop: Laptop) -> None:
    """All that it prints meanwhile is here afterwards, once, and what is edited, or sent, meanwhile is there."""
    lab.exec(["sh", "-c", f"rm -rf {SOURCES}; mkdir -p {SOURCES}"], user="dev", check=True)
    counting = "i=0; while ! test -e stop || ! test -e echoed; do echo number $i; i=$((i+1)); sleep 0.02; done"
    echoing = [
        f"import pathlib, socket; listener = socket.create_server(('127.0.0.1', {FORWARDED}))",
        "print('it listens', flush=True); end = listener.accept()[0]",
        "for _ in range(2): end.sendall(end.recv(9))",
        "pathlib.Path('echoed').touch()",
    ]
    asking = [
        f"import os, socket, time; end = socket.create_connection(('127.0.0.1', {FORWARDED})); end.sendall(b'before')",
        "print(end.recv(9), flush=True)",
        f"while not os.path.exists('{SOURCES}/stop'): time.sleep(0.1)",
        "end.sendall(b'meanwhile'); print(end.recv(9))",
    ]
    beside = ("web", "--mode", "duplicate", "--sync", SOURCES, "--forward", f"{FORWARDED}")
    with (
        as_before(lab, path_of("deployment", "web")),
        developing(lab, *beside, command=("sh", "-c", f"{counting}; echo 1 > last; exit 7")) as session,
    ):
        session.wait_for("number 9")
        echo = Foreground(lab, ["ktpy", "dev", "run", "web", *HERE, "--", "python3", "-c", "\n".join(echoing)])
        echo.wait_for("it listens")
        asked = Foreground(lab, ["python3", "-c", "\n".join(asking)])
        asked.wait_for("before")
        with unplugged(lab):
            session.wait_for("The link is lost")
            before = count(session)
            lab.exec(["touch", f"{SOURCES}/stop"], user="dev", check=True)
        assert asked.wait_ended() == 0, asked.output
        assert "meanwhile" in asked.output
        assert session.wait_ended() == 7, session.output
    assert count(session) > before, "it has gone on"
    assert lab.exec(["cat", f"{SOURCES}/last"], user="dev").stdout == "1\n", "what it has written last"


def count(session: Foreground) -> int:
    """How far it has counted, without leaving out a number or telling one twice."""
    printed = [int(one) for one in re.findall(r"^number (\d+)$", session.output, re.MULTILINE)]
    assert printed == list(range(len(printed)))
    return len(printed)


def test_each_kind_is_developed_under_load_and_given_back(lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """With the documented rights."""
    with_rights = ("--kubeconfig", str(lab.kubeconfig(USER)))
    kinds = of_every_kind()
    paths = {kind: path_of(kind, f"a-{kind}") for kind in kinds}
    services = [service(f"a-{kind}", {"port": 80, "targetPort": 8080}) for kind in SERVE]
    programs = code("server", server=REPOSITORY / "tests/demo/server.py")
    with (
        granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, dev=True)),
        applied(lab, NAMESPACE, programs, *services, *kinds.values()),
        ExitStack() as sessions,
    ):
        addresses = {kind: shop.service(f"a-{kind}").ipv4 for kind in SERVE}
        for kind, address in addresses.items():
            until_reached(getter(lab, address), kind)
        sessions.enter_context(as_before(lab, *paths.values()))
        visitors = {
            kind: sessions.enter_context(visiting(lab.layout.node_netns_path, address, rate=20, threads=2))
            for kind, address in addresses.items()
        }
        own = dict.fromkeys(SERVE, (*SERVER, "mine"))
        started = {
            kind: sessions.enter_context(
                developing(lab, f"{kind}/a-{kind}", *with_rights, command=own.get(kind, ("sleep", "infinity")))
            )
            for kind in kinds
        }
        lab.exec(
            ["sh", "-c", f"rm -rf {SOURCES}; mkdir -p {SOURCES}/lib; echo one > {SOURCES}/lib/a"],
            user="dev",
            check=True,
        )
        beside = sessions.enter_context(
            developing(lab, "web", "--mode", "duplicate", "--sync", f"{SOURCES}:/src", *PORTS)
        )
        for kind, session in started.items():
            session.wait_for("started" if kind == "job" else SWITCHED_OFF)
        beside.wait_for("in step")
        kept = ["ktpy", "dev", "run", "web", *HERE, "--", "sh", "-c"]
        assert laptop.output(*kept, "cat /src/lib/a; echo two > /src/b") == "one\n"
        showing = ["ktpy", "dev", "run", "web", *HERE, "--reload", "--work-dir", "/src", "--", "cat", "lib/a"]
        shown = Foreground(lab, showing)
        shown.wait_for("one")
        lab.exec(["sh", "-c", f"echo three > {SOURCES}/lib/a"], user="dev", check=True)
        wait_until(
            lambda: lab.exec(["cat", f"{SOURCES}/b"], user="dev").stdout == "two\n", SOON_S, "the container's file"
        )
        shown.wait_for("three")
        shown.process.terminate()
        assert shown.wait_ended() == 128 + signal.SIGTERM, shown.output
        serving = f"import socket; socket.create_server(('127.0.0.1', {FORWARDED})).accept()[0].sendall(b'here')"
        served = Foreground(lab, ["ktpy", "dev", "run", "web", *HERE, "--", "python3", "-c", serving])
        wait_until(lambda: lab.exec(ask(FORWARDED), user="dev").stdout == "here", SOON_S, "the forwarded port")
        assert served.wait_ended() == 0, served.output
        back = Foreground(lab, ["python3", "-c", serving.replace(f"{FORWARDED}", f"{BACK}")])
        asking = ["ktpy", "dev", "run", "web", *HERE, "--", *ask(REVERSED)]
        wait_until(lambda: laptop.run(asking).stdout == "here", SOON_S, "the reverse port")
        assert back.wait_ended() == 0, back.output
        debugged = ["ktpy", "dev", "debug", "web", *HERE, "--port", f"{DEBUGGED}", "--", "python3", "-c"]
        debugging = Foreground(lab, [*debugged, serving.replace(f"{FORWARDED}", f"{DEBUGGED}")])
        wait_until(lambda: lab.exec(ask(DEBUGGED), user="dev").stdout == "here", SOON_S, "the debugger's port")
        assert debugging.wait_ended() == 0, debugging.output
        told = ["sh", "-c", "echo $COLOUR; grep -o patched /etc/hosts"]
        printed = laptop.output("ktpy", "dev", "run", "job/a-job", *HERE, "--", *told)
        assert printed == "red\npatched\n", "what its annotation says"
        assert "patch for nocalhost-sidecar left out" in started["job"].output
        during = {kind: lab.api.get(path) for kind, path in paths.items()}
        assert during["statefulset"]["spec"]["replicas"] == during["replicaset"]["spec"]["replicas"] == 0
        assert during["cronjob"]["spec"]["suspend"] is True
        assert "labels" not in during["pod"]["metadata"]
        found = json.loads(laptop.output("ktpy", "list", *HERE, "--output", "json"))["developed"]
        assert len(found) == len(kinds) + 1
        for address in addresses.values():
            until_only_reached(getter(lab, address), "mine")
        for session in [*started.values(), beside]:
            session.process.send_signal(signal.SIGTERM)
        assert {one.wait_ended(SOON_S) for one in [*started.values(), beside]} == {128 + signal.SIGTERM}
        for kind, address in addresses.items():
            until_only_reached(getter(lab, address), kind)
            assert visitors[kind].failures() == [], f"{kind}: {visitors[kind].story()}\n{started[kind].output}"


def test_several_develop_one_service_side_by_side(lab: Lab, laptop: Laptop, shop: Shop) -> None:
    """Each has the requests with a header of their own; the pods have all others, and those of a laptop that died."""

    def mine(name: str) -> tuple[str, ...]:
        return "till", "--mode", "duplicate", "--expose", "80", "--version", name

    with applied(lab, NAMESPACE, *till()):
        address = shop.service("till").ipv4
        paths = path_of("deployment", "till"), f"/api/v1/namespaces/{NAMESPACE}/services/till"
        get = getter(lab, address)
        until_reached(get, "till")
        with as_before(lab, *paths), visiting(lab.layout.node_netns_path, address) as visitors:
            with developing(lab, *mine("al"), command=(*SERVER, "als")) as al:
                with developing(lab, *mine("bo"), command=(*SERVER, "bos")):
                    for name in ("al", "bo"):
                        until_reached(partial(get, VERSION=name), f"{name}s")
                    taken = laptop.run(["ktpy", "dev", "start", *mine("al"), *HERE, "--", "true"])
                    assert taken.returncode == RouteTaken.exit_code, taken.stderr
                al.kill()
                until_reached(partial(get, VERSION="al"), "till")
            assert laptop.run(["ktpy", "clean", *HERE]).returncode == 0
        assert (visitors.failures(), visitors.answers()) == ([], {"till"}), visitors.story()


def test_a_directory_outlives_the_container_until_it_is_purged(lab: Lab, laptop: Laptop) -> None:
    lab.node("sh", "-c", f"mkdir -p {KEPT_FOLDER}; rm -f {KEPT_FOLDER}/*; chmod a+rwx {KEPT_FOLDER}")
    start = ["ktpy", "dev", "start", "web", *HERE, "--mode", "duplicate", "--persist", "/kept:1Mi"]
    start += ["--storage-class", "kept", "--", "sh", "-c", "cat /kept/a || echo one > /kept/a"]
    with applied(lab, NAMESPACE, kept_volume()):
        done = [laptop.run(start) for _ in range(2)]
        assert [(one.returncode, one.stdout) for one in done] == [(0, ""), (0, "one\n")], [one.stderr for one in done]
        assert laptop.run(["ktpy", "clean", *HERE]).returncode == 0
        volumes = ["ktpy", "dev", "volumes", *HERE, "--output", "json"]
        [volume] = json.loads(laptop.output(*volumes))["volumes"]
        assert (volume["workload"], volume["path"], volume["phase"]) == ("deployment/web", "/kept", "Bound")
        assert json.loads(laptop.output(*volumes, "--purge"))["purged"] == [volume]
        claim = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{volume['claim']}"
        wait_until(lambda: lab.api.get(claim) is None, SOON_S, "the claim to go")
