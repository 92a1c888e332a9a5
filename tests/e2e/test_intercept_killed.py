"""SIGKILL to `ktpy` at every step of its way in and out: the service answers, and the next command clears up."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, repeat
from types import SimpleNamespace
from typing import cast

import pytest

from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.changes.registry import kind_of
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.steps import Step
from ktpy.kube.client import Api
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.object_history import History
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.signal_at_step import interrupted
from tests.e2e.kit.target_service import (
    EXPOSED,
    LOCAL,
    REDIRECTED,
    SERVICES,
    SLOWEST_S,
    as_before,
    getter,
    lasting_objects,
    until_reached,
)
from tests.e2e.kit.workloads import applied, service
from tests.lab import Lab
from tests.lab.sessions.foreground import READY_TIMEOUT_S
from tests.lab.sessions.http_clients import visiting
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

MENDERS = {
    "clean": ["clean"],
    "another command": ["list"],
    "the same again": ["exchange", "TARGET", *EXPOSED, "--", "true"],
}
TARGETS = ("web", "web-2", "web-3")
"""Services before the same pods: on each somebody is killed, from a laptop of his own, at the same time."""
RATE = 100.0
"""Requests a second to all of them."""

_NOWHERE = cast(Api, SimpleNamespace(namespace=NAMESPACE))


def change(command: str, target: str) -> ClusterChange:
    """As the command makes it; only the names of its steps are looked at."""
    plan = InterceptPlan(InterceptOptions(command, target, ()), Interceptee(NAMESPACE, target), ())
    return kind_of(command).change(_NOWHERE, plan, SessionIdentity("", "", ""), lambda _: None)


GATEWAY, PREVIEW = change("exchange", "web"), change("preview", "pay")


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.name for step in steps]


@dataclass(frozen=True)
class Case:
    """Killed with this step, the `time`th of its name; what clears up is `mender`."""

    step: str
    mender: str
    leaving: bool
    time: int = 1

    def __str__(self) -> str:
        return f"{'out' if self.leaving else 'in'}: {self.step}-{self.mender}"


def batches() -> list[list[Case]]:
    """Each step with one of the ways to clear up, in turn; as many at a time as there are targets."""
    entry, leaving = names(GATEWAY.entry), names(GATEWAY.exit)
    ways = [
        [Case(step, mender, False) for step, mender in zip(entry, cycle(MENDERS), strict=False)],
        [
            Case(step, mender, True, 1 + entry.count(step))
            for step, mender in zip(leaving, cycle(MENDERS), strict=False)
        ],
    ]
    size = len(TARGETS)
    return [cases[begin : begin + size] for cases in ways for begin in range(0, len(cases), size)]


@contextmanager
def undisturbed(lab: Lab, shop: Shop, *targets: str) -> Iterator[None]:
    """Requests to each from a pod; all are answered in time, and in the end services and namespace are as before."""
    [address] = shop.pods("echo").values()
    pod, history = lab.pod_netns(address.ipv4), History(lab)
    with ExitStack() as stack:
        visited = []
        for target in targets:
            host = shop.service(target).ipv4
            until_reached(getter(lab, host), "web")
            stack.enter_context(as_before(lab, target))
            visited.append(stack.enter_context(visiting(pod, host, rate=RATE / len(targets))))
        yield
        for visitors in visited:
            until_answered(visitors, "web")
    for visitors in visited:
        assert visitors.failures() == [], f"{visitors.story()}\n{history}"
        assert visitors.slowest_s() < SLOWEST_S


@pytest.fixture
def alone(lab: Lab, shop: Shop) -> Iterator[None]:
    with undisturbed(lab, shop, "web"), serving(lab, LOCAL):
        yield


def killed(lab: Lab, case: Case, target: str = "web", *, kind: str = "exchange") -> None:
    """Come, and leave, until the process is gone with this step."""
    program = interrupted(signal.SIGKILL, "after", case.step, case.time)
    intercept = Intercept(lab, kind, target, "-n", NAMESPACE, *EXPOSED, program=program)
    try:
        if case.leaving:
            intercept.wait_ready()
            intercept.process.send_signal(signal.SIGINT)
        assert intercept.wait_ended(READY_TIMEOUT_S) == -signal.SIGKILL, intercept.output
    finally:
        intercept.close()


def mend(lab: Lab, how: str, target: str = "web", *, kind: str = "exchange") -> None:
    verb, *arguments = [target if word == "TARGET" else word for word in MENDERS[how]]
    done = Laptop(lab).run(["ktpy", verb, "-n", NAMESPACE, *arguments])
    assert done.returncode == 0, done.stderr
    assert f"its {kind} of {target} " in done.stdout + done.stderr


def nothing_is_left(lab: Lab) -> None:
    assert "Nothing to clean." in Laptop(lab).output("ktpy", "clean", "-n", NAMESPACE)


def kill_and_mend(lab: Lab, case: Case, target: str, kind: str) -> None:
    with serving(lab, LOCAL):
        killed(lab, case, target, kind=kind)
        mend(lab, case.mender, target, kind=kind)


def side_by_side(lab: Lab, cases: list[Case], targets: Sequence[str], kind: str = "exchange") -> None:
    """Each on a laptop of its own: whoever begins anything clears up what he has left."""
    laptops = lab.laptops(len(cases))
    with ThreadPoolExecutor(len(cases)) as threads:
        list(threads.map(kill_and_mend, laptops, cases, targets, repeat(kind)))
        list(threads.map(nothing_is_left, laptops))


@pytest.mark.parametrize("batch", batches(), ids=lambda batch: ", ".join(map(str, batch)))
def test_killed(batch: list[Case], lab: Lab, shop: Shop) -> None:
    """On the way in or out."""
    others = [service(name, {"name": "http", "port": 80, "targetPort": "http"}, app="web") for name in TARGETS[1:]]
    with applied(lab, NAMESPACE, *others), undisturbed(lab, shop, *TARGETS):
        side_by_side(lab, batch, TARGETS)


def test_killed_between_the_selector_and_the_rest(lab: Lab, alone: None) -> None:
    """Giving the service back takes two writes; after the first one it serves, and says that something is left."""
    killed(lab, Case("PATCH services/web", "clean", leaving=True, time=3))  # the first two are for the way in
    service = lab.api.get(f"{SERVICES}/web")
    assert service["spec"]["selector"] == {"app": "web"}
    assert "ktpy.dev/intercepted" in service["metadata"]["annotations"]
    mend(lab, "clean")
    nothing_is_left(lab)


def test_killed_beside_somebody_who_stays(lab: Lab, alone: None) -> None:
    """Root of the laptop has a mesh; what is cleared up is the dead one's part only."""
    with intercepting(lab, "mesh", "web", *EXPOSED, "--version", "x", user="root") as staying:
        killed(lab, Case(names(GATEWAY.entry)[-1], "clean", leaving=False))
        mend(lab, "clean")
        nothing_is_left(lab)
        assert lab.api.get(f"{SERVICES}/web")["spec"]["selector"] == REDIRECTED
        staying.leave()


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([Case(step, "clean", False) for step in names(PREVIEW.entry)[1:]], id="in"),  # nothing before
        pytest.param([Case(step, "another command", True) for step in names(PREVIEW.exit)], id="out"),
    ],
)
def test_previews_killed(cases: list[Case], lab: Lab) -> None:
    side_by_side(lab, cases, [f"pay-{number}" for number, _ in enumerate(cases)], "preview")
    assert lasting_objects(lab) == []
