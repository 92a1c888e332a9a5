"""What happens while everybody else uses the service: one function each, over when the service is itself again."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.gateway import target
from tests.bench.gateway.scenario import LOCAL, ORIGINAL, Scenario, signal_all
from tests.bench.target import NAMESPACE

STOPPED_S = 30.0
CUT_S = 10.0
DELETE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`stands`: what is there before: an exchange (with `options`), a mesh. So many requests of all `may_fail`."""

    name: str
    happen: Callable[[Scenario], None]
    stands: tuple[str, ...] = ("exchange",)
    kills_gateway: bool = False
    may_fail: int = 0
    options: tuple[str, ...] = ()

    def prepare(self, scenario: Scenario) -> None:
        scenario.open_port()
        if "exchange" in self.stands:
            scenario.begin_exchange(*self.options)
        if "mesh" in self.stands:
            scenario.begin_mesh()

    @property
    def answers_before(self) -> str:
        return LOCAL if "exchange" in self.stands else ORIGINAL


def _start(scenario: Scenario) -> None:
    scenario.begin_exchange()
    scenario.until_answered(LOCAL)


def _stop(scenario: Scenario) -> None:
    scenario.leave(scenario.exchange)
    scenario.until_answered(ORIGINAL)


def _join(scenario: Scenario) -> None:
    scenario.begin_mesh()


def _leave(scenario: Scenario) -> None:
    scenario.leave(scenario.mesh)


def _killed(scenario: Scenario) -> None:
    scenario.note("SIGKILL")
    scenario.exchange.kill()
    scenario.until_answered(ORIGINAL)


def _stopped(scenario: Scenario) -> None:
    """As a laptop whose lid is closed."""
    woken_s = time.monotonic() + STOPPED_S
    scenario.note("SIGSTOP")
    signal_all(scenario.exchange, signal.SIGSTOP)
    try:
        scenario.until_answered(ORIGINAL)
        time.sleep(woken_s - time.monotonic())
    finally:
        scenario.note("SIGCONT")
        signal_all(scenario.exchange, signal.SIGCONT)
    scenario.until_answered(LOCAL)


def _cut(scenario: Scenario) -> None:
    scenario.note("cable out")
    scenario.lab.cut(CUT_S)
    scenario.note("cable in")
    scenario.until_answered(LOCAL)


def _port(scenario: Scenario) -> None:
    scenario.note("port closed")
    scenario.close_port()
    scenario.until_answered(ORIGINAL)
    scenario.note("port opened")
    scenario.open_port()
    scenario.until_answered(LOCAL)


def _api(scenario: Scenario) -> None:
    scenario.note("API server killed")
    scenario.lab.restart_api()
    scenario.note("API server ready")
    scenario.until_answered(LOCAL)


def _applied(scenario: Scenario) -> None:
    """By somebody's deployment, with the selector that the service had."""
    scenario.note("manifest applied")
    target.deploy(scenario.lab)
    scenario.exchange.wait_for("redirects it once more")
    scenario.until_answered(LOCAL)


def _agent(scenario: Scenario) -> None:
    """The agent's process of the route."""
    _killed_in_the_gateway(scenario, "ktpy-agent", "route")


def _sshd(scenario: Scenario) -> None:
    """The sshd process of the laptop's connection."""
    _killed_in_the_gateway(scenario, "sshd-session: ktpy@notty")


def _container(scenario: Scenario) -> None:
    """By its first process: the kubelet starts another in the same pod."""
    _killed_in_the_gateway(scenario, "ktpy-agent", "gateway")


def _killed_in_the_gateway(scenario: Scenario, *words: str) -> None:
    scenario.kill(scenario.gateway(), *words)
    scenario.until_answered(LOCAL)


def _pod(scenario: Scenario) -> None:
    pod = scenario.gateway()
    scenario.note("pod deleted")
    wait = ["--wait=true", f"--timeout={DELETE_TIMEOUT_S:.0f}s"]
    scenario.lab.kubectl("-n", NAMESPACE, "delete", "pod", pod.name, *wait, timeout_s=DELETE_TIMEOUT_S + 5)
    scenario.note("pod gone")
    scenario.until_answered(LOCAL)


TWO = ("--replicas", "2")

FAULTS = (
    Fault("start", _start, stands=()),
    Fault("stop", _stop),
    Fault("join", _join),
    Fault("leave", _leave, stands=("exchange", "mesh")),
    Fault("laptop-killed", _killed),
    Fault("laptop-stopped", _stopped),
    Fault("cable-cut", _cut),
    Fault("local-port", _port),
    Fault("api-restarted", _api),
    Fault("manifest-applied", _applied),
    Fault("agent-killed", _agent),
    Fault("sshd-killed", _sshd),
    Fault("pod-deleted", _pod, kills_gateway=True),
    Fault("container-killed", _container, kills_gateway=True, may_fail=40),
    Fault("pod-deleted-of-2", _pod, kills_gateway=True, options=TWO),
    Fault("container-killed-of-2", _container, kills_gateway=True, options=TWO),
)
