"""What stands while the soak lasts: pods and Services of its own, and one developer's sessions of every kind."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.kit import processes as sessions_of_ktpy
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import Shop
from tests.e2e.kit.target_service import getter, until_reached
from tests.e2e.kit.workloads import Manifest, code, container, deployment, namespace, service
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.sessions.connect import ConnectSession, connecting
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import serving

NAMESPACE = "ktpy-soak"
HERE = ("--namespace", NAMESPACE)
EXCHANGED, MESHED, PLAIN, ECHO, DEVELOPED = "web", "catalog", "plain", "echo", "till"
BYSTANDER = "bystander"
"""Of this one ktpy takes no notice: it tells how busy the machine is."""
HTTP_SERVICES = (EXCHANGED, MESHED, PLAIN, DEVELOPED, BYSTANDER)
EXCHANGE_PORT, MESH_PORT, OTHER_PORT = 3001, 3002, 3003
FORWARDED_PORT = 8007
"""The laptop's, TCP and UDP, that `ktpy forward` takes for port 7."""
VERSION = {"VERSION": "mine"}
SOURCES = "/home/dev/soak"
SWITCHED_OFF = "is switched off"
PAGE = "index.html"
SERVER = ("python3", "/code/server.py")


@dataclass
class Scenario:
    """`sessions` by the name under which they are sampled; of `connect` it is what sudo started."""

    lab: Lab
    connect: ConnectSession
    sessions: dict[str, Foreground] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """Cluster IPs by Service."""

    @property
    def laptop(self) -> Path:
        return self.lab.layout.laptop_netns_path

    @property
    def node(self) -> Path:
        return self.lab.layout.node_netns_path

    def ended(self) -> list[str]:
        """Sessions that have ended by themselves, with their last words."""
        return [
            f"{name} has ended with {session.process.poll()}: {session.output.strip()[-300:]}"
            for name, session in self.sessions.items()
            if session.process.poll() is not None
        ]

    def roots(self) -> dict[str, int]:
        """The process with which each session began, by name; connect's helper, which is root's, for itself."""
        found = {name: session.process.pid for name, session in self.sessions.items() if name != "connect"}
        return found | {
            {"main": "connect", "helper": "connect helper"}[running.role]: running.record.pid
            for running in sessions_of_ktpy.of(self.lab)
        }


def answering(name: str, replicas: int = 2) -> Manifest:
    """Pods that say their name to every request, and end slowly, as pods should: none is lost when one is replaced."""
    made = container(name, *SERVER, "http", name, ports={"http": 8080})
    made["lifecycle"] = {"preStop": {"sleep": {"seconds": 4}}}
    pods = deployment(name, made, code="server")
    pods["spec"]["replicas"] = replicas
    pods["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10
    return pods


def objects() -> list[Manifest]:
    echo = container(ECHO, *SERVER, "echo", ports={"echo": 7007, "echo-udp": (7007, "UDP")})
    web = {"port": 80, "targetPort": 8080}
    return [
        code("server", server=REPOSITORY / "tests/demo/server.py"),
        *(answering(name) for name in (EXCHANGED, MESHED, PLAIN)),
        *(answering(name, replicas=1) for name in (DEVELOPED, BYSTANDER)),
        *(service(name, web) for name in HTTP_SERVICES),
        deployment(ECHO, echo, code="server"),
        service(
            ECHO,
            {"name": "tcp", "port": 7, "targetPort": 7007},
            {"name": "udp", "port": 7, "targetPort": 7007, "protocol": "UDP"},
        ),
    ]


@contextmanager
def furnished(lab: Lab) -> Iterator[None]:
    """The namespace with all that is no session's; it is told to go when the block ends."""
    with namespace(lab, NAMESPACE, *objects()):
        yield


@contextmanager
def standing(lab: Lab) -> Iterator[Scenario]:
    """Every session, ready; they are ended, politely, when the block ends."""
    with ExitStack() as stack:
        shop = Shop(lab.api, NAMESPACE)
        addresses = {name: shop.service(name).ipv4 for name in (*HTTP_SERVICES, ECHO)}
        for name in HTTP_SERVICES:
            until_reached(getter(lab, addresses[name]), name)
        prepare = f"rm -rf {SOURCES}; mkdir -p {SOURCES} && echo begun > {SOURCES}/{PAGE}"
        lab.exec(["sh", "-c", prepare], user="dev", check=True)
        stack.enter_context(serving(lab, EXCHANGE_PORT))
        stack.enter_context(serving(lab, MESH_PORT, "meshed"))
        stack.enter_context(serving(lab, OTHER_PORT, "other"))
        connect = stack.enter_context(connecting(lab, *HERE))
        scenario = Scenario(lab, connect, {"connect": connect}, addresses)
        for name, kind, target, *options in (
            ("exchange", "exchange", EXCHANGED, "--expose", f"{EXCHANGE_PORT}:80"),
            ("mesh", "mesh", MESHED, "--expose", f"{MESH_PORT}:80", "--version", VERSION["VERSION"]),
        ):
            intercept = intercepting(lab, kind, target, *options, namespace=NAMESPACE)
            scenario.sessions[name] = stack.enter_context(intercept)
        forward = ["ktpy", "forward", *HERE, ECHO, "--output", "json"]
        scenario.sessions["forward"] = stack.enter_context(foreground(lab, forward, '"kind": "ready"'))
        serve = ["sh", "-c", "exec python3 -m http.server 8080 2> /dev/null"]
        dev = ["ktpy", "dev", "start", DEVELOPED, *HERE, "--sync", SOURCES, "--", *serve]
        scenario.sessions["dev"] = stack.enter_context(foreground(lab, dev, SWITCHED_OFF))
        until_reached(getter(lab, addresses[DEVELOPED]), "begun")
        yield scenario


@contextmanager
def foreground(lab: Lab, command: list[str], ready: str) -> Iterator[Foreground]:
    """A command that has printed `ready`; it is interrupted as the block ends."""
    session = Foreground(lab, command)
    try:
        session.wait_for(ready)
        yield session
    finally:
        if session.process.poll() is None:
            os.killpg(session.process.pid, signal.SIGINT)
        session.end()


def name_server(lab: Lab) -> str:
    """Whom programs on the laptop ask."""
    return Laptop(lab).name_server()


def status(lab: Lab) -> list[dict[str, object]]:
    """What `ktpy status` tells of all sessions; nothing when it does not answer."""
    done = lab.exec(["ktpy", "status", "--output", "json"], user="dev")
    return list(json.loads(done.stdout)["sessions"]) if done.returncode == 0 else []
