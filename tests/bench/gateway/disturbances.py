"""What happens while everybody else uses the service: one function each, over when the service is itself again."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.gateway import target
from tests.bench.gateway.stage import LOCAL, ORIGINAL, Stage, signal_all
from tests.bench.target import NAMESPACE

STOPPED_S = 30.0
CUT_S = 10.0
DELETE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """`stands`: what is there before: an exchange (with `options`), a mesh. `kills_gateway`: requests may fail."""

    name: str
    happen: Callable[[Stage], None]
    stands: tuple[str, ...] = ("exchange",)
    kills_gateway: bool = False
    options: tuple[str, ...] = ()

    def prepare(self, stage: Stage) -> None:
        stage.open_port()
        if "exchange" in self.stands:
            stage.begin_exchange(*self.options)
        if "mesh" in self.stands:
            stage.begin_mesh()

    @property
    def answers_before(self) -> str:
        return LOCAL if "exchange" in self.stands else ORIGINAL


def _start(stage: Stage) -> None:
    stage.begin_exchange()
    stage.until_answered(LOCAL)


def _stop(stage: Stage) -> None:
    stage.leave(stage.exchange)
    stage.until_answered(ORIGINAL)


def _join(stage: Stage) -> None:
    stage.begin_mesh()


def _leave(stage: Stage) -> None:
    stage.leave(stage.mesh)


def _killed(stage: Stage) -> None:
    stage.note("SIGKILL")
    stage.exchange.kill()
    stage.until_answered(ORIGINAL)


def _stopped(stage: Stage) -> None:
    """As a laptop whose lid is closed."""
    woken_s = time.monotonic() + STOPPED_S
    stage.note("SIGSTOP")
    signal_all(stage.exchange, signal.SIGSTOP)
    try:
        stage.until_answered(ORIGINAL)
        time.sleep(woken_s - time.monotonic())
    finally:
        stage.note("SIGCONT")
        signal_all(stage.exchange, signal.SIGCONT)
    stage.until_answered(LOCAL)


def _cut(stage: Stage) -> None:
    stage.note("cable out")
    stage.lab.cut(CUT_S)
    stage.note("cable in")
    stage.until_answered(LOCAL)


def _port(stage: Stage) -> None:
    stage.note("port closed")
    stage.close_port()
    stage.until_answered(ORIGINAL)
    stage.note("port opened")
    stage.open_port()
    stage.until_answered(LOCAL)


def _api(stage: Stage) -> None:
    stage.note("API server killed")
    stage.lab.restart_api()
    stage.note("API server ready")
    stage.until_answered(LOCAL)


def _applied(stage: Stage) -> None:
    """By somebody's deployment, with the selector that the service had."""
    stage.note("manifest applied")
    target.deploy(stage.lab)
    stage.exchange.wait_for("redirects it once more")
    stage.until_answered(LOCAL)


def _agent(stage: Stage) -> None:
    """The agent's process of the route."""
    _killed_in_the_gateway(stage, "ktpy-agent", "route")


def _sshd(stage: Stage) -> None:
    """The sshd process of the laptop's connection."""
    _killed_in_the_gateway(stage, "sshd-session: ktpy@notty")


def _container(stage: Stage) -> None:
    """By its first process: the kubelet starts another in the same pod."""
    _killed_in_the_gateway(stage, "ktpy-agent", "gateway")


def _killed_in_the_gateway(stage: Stage, *words: str) -> None:
    stage.kill(stage.gateway(), *words)
    stage.until_answered(LOCAL)


def _pod(stage: Stage) -> None:
    pod = stage.gateway()
    stage.note("pod deleted")
    wait = ["--wait=true", f"--timeout={DELETE_TIMEOUT_S:.0f}s"]
    stage.lab.kubectl("-n", NAMESPACE, "delete", "pod", pod.name, *wait, timeout_s=DELETE_TIMEOUT_S + 5)
    stage.note("pod gone")
    stage.until_answered(LOCAL)


TWO = ("--replicas", "2")

DISTURBANCES = (
    Disturbance("start", _start, stands=()),
    Disturbance("stop", _stop),
    Disturbance("join", _join),
    Disturbance("leave", _leave, stands=("exchange", "mesh")),
    Disturbance("laptop-killed", _killed),
    Disturbance("laptop-stopped", _stopped),
    Disturbance("cable-cut", _cut),
    Disturbance("local-port", _port),
    Disturbance("api-restarted", _api),
    Disturbance("manifest-applied", _applied),
    Disturbance("agent-killed", _agent),
    Disturbance("sshd-killed", _sshd),
    Disturbance("pod-deleted", _pod, kills_gateway=True),
    Disturbance("container-killed", _container, kills_gateway=True),
    Disturbance("pod-deleted-of-2", _pod, kills_gateway=True, options=TWO),
    Disturbance("container-killed-of-2", _container, kills_gateway=True, options=TWO),
)
