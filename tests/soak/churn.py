"""Light churn: pods are replaced, Services come and go, sessions begin and end, the cable is out for a while."""

import itertools
import logging
import os
import signal
import time
from collections.abc import Callable
from http.client import HTTPException

from tests.e2e.kit.faults import unplugged
from tests.e2e.kit.workloads import Manifest, applied, service
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import ask
from tests.soak.loads import PROBLEMS, DnsClient
from tests.soak.scenario import EXCHANGED, HERE, MESHED, NAMESPACE, OTHER_PORT, PLAIN, Scenario
from tests.soak.tally import Span

logger = logging.getLogger(__name__)

CABLE_EVERY_MIN, CABLE_AT_MIN, CABLE_OUT_S = 15, 5, 10.0
BEFORE_S, BACK_S = 10.0, 40.0
"""Around an outage, for so long requests over the link may fail: they wait 10 s for it, and its pauses grow to 5 s."""
SOON_S = 60.0
WORDS = 500


class Churn:
    """What happens in each minute, one thing after the other. `wrong` has what did not do as it should."""

    def __init__(self, standing: Scenario, note: Callable[[str], None]) -> None:
        self._standing, self._lab = standing, standing.lab
        self._dns = DnsClient(standing)
        self._note = note
        self.outages: list[Span] = []
        self.wrong: list[str] = []
        self._deployments = itertools.cycle((PLAIN, EXCHANGED, MESHED))
        self._sessions = itertools.cycle((self._mesh, self._forward, self._exchange_of_plain))
        self._number = itertools.count()
        self._steps = (self._replace_pod, self._service, self._session, self._run, self._replace_pod)

    def minute(self, number: int) -> None:
        """Do what minute `number`, from 0 on, has."""
        step = self._steps[number % len(self._steps)]
        if number % CABLE_EVERY_MIN == CABLE_AT_MIN:
            step = self._cable
        name = step.__name__.strip("_").replace("_", " ")
        began_s = time.monotonic()
        try:
            step()
        except PROBLEMS as error:
            self.wrong.append(f"minute {number}, {name}: {str(error)[:WORDS]}")
            self._note(self.wrong[-1])
        else:
            self._note(f"{name} ({time.monotonic() - began_s:.1f} s)")

    def _replace_pod(self) -> None:
        name = next(self._deployments)
        found = self._lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{name}") or {"items": []}
        going = [one["metadata"]["name"] for one in found["items"] if "deletionTimestamp" not in one["metadata"]]
        assert going, f"{name} has no pods"
        self._lab.kubectl("-n", NAMESPACE, "delete", "pod", going[0], "--wait=false")

    def _service(self) -> None:
        name = f"brief-{next(self._number)}"
        full_name = f"{name}.{NAMESPACE}.svc.cluster.local"
        made: Manifest = service(name, {"port": 80, "targetPort": 8080}, app=PLAIN)
        with applied(self._lab, NAMESPACE, made):
            wait_until(lambda: bool(self._dns.addresses(full_name)), SOON_S, f"the name {name}")
            [address] = self._dns.addresses(full_name)
            wait_until(lambda: self._answers(address), SOON_S, f"service {name} to answer")
        wait_until(lambda: not self._dns.addresses(full_name), SOON_S, f"the name {name} to go")

    def _answers(self, address: str) -> bool:
        try:
            return ask(self._standing.laptop, address)[0] == 200
        except (OSError, HTTPException):
            return False

    def _session(self) -> None:
        next(self._sessions)()

    def _mesh(self) -> None:
        """Another one of the service that has one."""
        with_header = {"VERSION": "other"}
        command = ["mesh", MESHED, "--expose", f"{OTHER_PORT}:80", "--version", "other"]
        session = self._begin(command)
        host = self._standing.addresses[MESHED]
        wait_until(lambda: self._who(host, with_header) == "other", SOON_S, "the other mesh to answer")
        self._end(session)

    def _exchange_of_plain(self) -> None:
        session = self._begin(["exchange", PLAIN, "--expose", f"{OTHER_PORT}:80"])
        host = self._standing.addresses[PLAIN]
        wait_until(lambda: self._who(host, {}) == "other", SOON_S, "the other exchange to answer")
        self._end(session)

    def _forward(self) -> None:
        self._end(self._begin(["forward", PLAIN, ":80"]))

    def _begin(self, command: list[str]) -> Foreground:
        session = Foreground(self._lab, ["ktpy", command[0], *HERE, "--output", "json", *command[1:]])
        try:
            session.wait_for('"kind": "ready"')
        except AssertionError:
            self._end(session)
            raise
        return session

    def _end(self, session: Foreground) -> None:
        if session.process.poll() is None:
            os.killpg(session.process.pid, signal.SIGINT)
        session.end()
        assert session.process.returncode == 0, session.output[-WORDS:]

    def _who(self, host: str, headers: dict[str, str]) -> str:
        try:
            return "".join(ask(self._standing.node, host, headers)[1].split()[:1])
        except (OSError, HTTPException):
            return ""

    def _run(self) -> None:
        done = self._lab.exec(["ktpy", "run", *HERE, "--", "curl", "-sS", f"http://{PLAIN}/"], user="dev")
        assert (done.returncode, done.stdout[: len(PLAIN)]) == (0, PLAIN), done.stdout + done.stderr

    def _cable(self) -> None:
        began_s = time.monotonic()
        self.outages.append((began_s - BEFORE_S, float("inf")))
        try:
            with unplugged(self._lab):
                time.sleep(CABLE_OUT_S)
        finally:
            self.outages[-1] = (began_s - BEFORE_S, time.monotonic() + BACK_S)
