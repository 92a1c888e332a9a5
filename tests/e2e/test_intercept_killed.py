"""SIGKILL to `ktpy` at every step of its way in and out: the service answers, and the next command clears up."""

import os
import signal
from collections.abc import Iterator
from itertools import cycle
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
from tests.e2e.kit.target_service import EXPOSED, LOCAL, REDIRECTED, SERVICES, SLOWEST_S, as_before
from tests.lab import Lab
from tests.lab.sessions.http_clients import Visitors, visiting
from tests.lab.sessions.intercept import Intercept, intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

MENDERS = {
    "clean": ["clean"],
    "another command": ["list"],
    "the same again": ["exchange", "web", *EXPOSED, "--", "true"],
}

_NOWHERE = cast(Api, SimpleNamespace(namespace=NAMESPACE))


def change(command: str, target: str) -> ClusterChange:
    """As the command makes it; only the names of its steps are looked at."""
    plan = InterceptPlan(InterceptOptions(command, target, ()), Interceptee(NAMESPACE, target), ())
    return kind_of(command).change(_NOWHERE, plan, SessionIdentity("", "", ""), lambda _: None)


GATEWAY, PREVIEW = change("exchange", "web"), change("preview", "pay")


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.name for step in steps]


def with_menders(steps: list[str]) -> list[tuple[str, str]]:
    """Each step with one of the ways to clear up, in turn."""
    return list(zip(steps, cycle(MENDERS), strict=False))


@pytest.fixture
def visitors(lab: Lab, shop: Shop) -> Iterator[Visitors]:
    """Requests from a pod; all are answered in time, and in the end service and namespace are as before."""
    [address] = shop.pods("echo").values()
    pod, history = lab.pod_netns(address.ipv4), History(lab)
    with as_before(lab, "web"), serving(lab, LOCAL), visiting(pod, shop.service("web").ipv4) as visitors:
        yield visitors
        until_answered(visitors, "web")
    assert visitors.failures() == [], f"{visitors.story()}\n{history}"
    assert visitors.slowest_s() < SLOWEST_S


def killed(lab: Lab, step: str, *, kind: str = "exchange", target: str = "web", leaving: bool, time: int = 1) -> None:
    """Come, and leave, until the process is gone with this step."""
    program = interrupted(signal.SIGKILL, "after", step, time)
    intercept = Intercept(lab, kind, target, "-n", NAMESPACE, *EXPOSED, program=program)
    try:
        if leaving:
            intercept.wait_ready()
            intercept.process.send_signal(signal.SIGINT)
        assert intercept.wait_ended() == -signal.SIGKILL, intercept.output
    finally:
        intercept.close()


def mend(laptop: Laptop, how: str, kind: str = "exchange") -> None:
    done = laptop.run(["ktpy", MENDERS[how][0], "-n", NAMESPACE, *MENDERS[how][1:]])
    assert done.returncode == 0, done.stderr
    assert f"its {kind} of " in done.stdout + done.stderr
    assert "Nothing to clean." in laptop.output("ktpy", "clean", "-n", NAMESPACE)


@pytest.mark.parametrize(("step", "mender"), with_menders(names(GATEWAY.entry)))
def test_killed_on_its_way_in(step: str, mender: str, lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    killed(lab, step, leaving=False)
    mend(laptop, mender)


@pytest.mark.parametrize(("step", "mender"), with_menders(names(GATEWAY.exit)))
def test_killed_on_its_way_out(step: str, mender: str, lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    killed(lab, step, leaving=True, time=1 + names(GATEWAY.entry).count(step))
    mend(laptop, mender)


def test_killed_between_the_selector_and_the_rest(lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    """Giving the service back takes two writes; after the first one it serves, and says that something is left."""
    killed(lab, "PATCH services/web", leaving=True, time=3)  # the first two are for the way in
    service = lab.api.get(f"{SERVICES}/web")
    assert service["spec"]["selector"] == {"app": "web"}
    assert "ktpy.dev/intercepted" in service["metadata"]["annotations"]
    mend(laptop, "clean")


def test_killed_beside_somebody_who_stays(lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    """Root of the laptop has a mesh; what is cleared up is the dead one's part only."""
    with intercepting(lab, "mesh", "web", *EXPOSED, "--version", "x", user="root") as staying:
        killed(lab, names(GATEWAY.entry)[-1], leaving=False)
        mend(laptop, "clean")
        assert lab.api.get(f"{SERVICES}/web")["spec"]["selector"] == REDIRECTED
        staying.leave()


@pytest.mark.parametrize("step", names(PREVIEW.entry)[1:])  # before that, there is nothing
def test_a_preview_killed_on_its_way_in(step: str, lab: Lab, laptop: Laptop) -> None:
    killed(lab, step, kind="preview", target="pay", leaving=False)
    mend(laptop, "clean", "preview")
    assert not_pods(ktpys_objects(lab, NAMESPACE)) == []


@pytest.mark.parametrize("step", names(PREVIEW.exit))
def test_a_preview_killed_on_its_way_out(step: str, lab: Lab, laptop: Laptop) -> None:
    killed(lab, step, kind="preview", target="pay", leaving=True)
    mend(laptop, "another command", "preview")
    assert not_pods(ktpys_objects(lab, NAMESPACE)) == []


def not_pods(objects: list[str]) -> list[str]:
    """Pods that have been told to go take their time."""
    return [one for one in objects if not one.startswith("pod/")]
