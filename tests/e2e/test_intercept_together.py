"""Many people on one service at once, each from a laptop of his own, while pods use it all the time."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.kit.object_history import History
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.signal_at_step import interrupted, until_stopped
from tests.e2e.kit.target_service import EXPOSED, LOCAL, SERVICES, SLOWEST_S, as_before
from tests.lab import Lab
from tests.lab.sessions.http_clients import Visitors, visiting
from tests.lab.sessions.intercept import Intercept
from tests.lab.sessions.local_server import LocalServer, serving
from tests.lab.sessions.request_log import STEADY_S, until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

MESHES = 10
RESTLESS = 4
"""Who change their mind in each phase: they come, go, and come again."""
HANDS = 4
"""How many come or go at once."""
SEED = 7
EXCHANGER = "everything"


@dataclass
class Person:
    """Somebody with a laptop, a program on it, and requests that are meant for him."""

    lab: Lab
    name: str
    options: tuple[str, ...]
    server: LocalServer
    visitors: Visitors
    """They say what he asks for, and are the only ones who do."""
    spans: list[tuple[float, float]] = field(default_factory=list)
    """From when to when he has taken part: he has been waited for, and nobody else may answer meanwhile."""
    _intercept: Intercept | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kind(self) -> str:
        return "exchange" if self.name == EXCHANGER else "mesh"

    def come_or_go(self) -> None:
        with self._busy:
            if self._intercept is None:
                self._come()
            else:
                self._go(self._intercept)

    def _come(self) -> None:
        self._intercept = Intercept(self.lab, self.kind, "web", "-n", NAMESPACE, *EXPOSED, *self.options)
        self._intercept.wait_ready()
        until_answered(self.visitors, self.name)
        self.spans.append((time.monotonic() - STEADY_S, float("inf")))

    def _go(self, intercept: Intercept) -> None:
        self.spans[-1] = (self.spans[-1][0], time.monotonic())
        intercept.leave()
        self._intercept = None

    @property
    def is_here(self) -> bool:
        return self._intercept is not None

    def end(self) -> None:
        if self._intercept is not None:
            self._intercept.close()


@pytest.fixture(scope="module")
def laptops(lab: Lab) -> list[Lab]:
    return lab.laptops(MESHES + 1)


@pytest.fixture
def pod(lab: Lab, shop: Shop) -> Path:
    """Where the visitors are: the network of a pod that is no pod of the service."""
    [address] = shop.pods("echo").values()
    return lab.pod_netns(address.ipv4)


@contextmanager
def people(laptops: list[Lab], pod: Path, host: str) -> Iterator[list[Person]]:
    """The first exchanges the port, the others have a mesh each."""
    with ExitStack() as stack:
        found = []
        for number, lab in enumerate(laptops):
            name = f"person{number}" if number else EXCHANGER
            server = stack.enter_context(serving(lab, LOCAL, name))
            headers = {"VERSION": name} if number else {}
            # One thread, on a fresh connection each time: a kept one stays with the pod it was opened to.
            asking = stack.enter_context(visiting(pod, host, headers, rate=6.0, threads=1))
            options = ("--version", name) if number else ()
            person = Person(lab, name, options, server, asking)
            stack.callback(person.end)
            found.append(person)
        yield found


def toggles(chance: random.Random, people: list[Person]) -> list[Person]:
    """An order in which everyone changes sides: once, or for the restless ones three times."""
    order = [*people, *2 * chance.sample(people, RESTLESS)]
    chance.shuffle(order)
    return order


def run(order: list[Person]) -> None:
    with ThreadPoolExecutor(HANDS) as hands:
        list(hands.map(Person.come_or_go, order))


def test_ten_meshes_and_an_exchange_in_random_order(lab: Lab, laptops: list[Lab], pod: Path, shop: Shop) -> None:
    chance = random.Random(SEED)
    host = shop.service("web").ipv4
    with (
        as_before(lab, "web"),
        visiting(pod, host, rate=40.0) as everybody,
        people(laptops, pod, host) as crowd,
    ):
        run(toggles(chance, crowd))
        assert all(person.is_here for person in crowd)
        listed = laptops[3].exec(["ktpy", "list", "-n", NAMESPACE], user="dev", check=True).stdout
        assert all(
            f"dev@laptop-{number}: mesh of port 80, VERSION: person{number - 1}" in listed for number in range(2, 12)
        ), listed
        run(toggles(chance, crowd))
        assert not any(person.is_here for person in crowd)
        assert ktpys_things(lab) == []
        after_s = time.monotonic()
        for person in crowd:
            until_answered(person.visitors, "web")
    for visitors in (everybody, *(person.visitors for person in crowd)):
        assert visitors.failures() == [], visitors.story()
        assert visitors.slowest_s() < SLOWEST_S
        assert visitors.answers(after_s) == {"web"}
    for person in crowd:
        assert person.visitors.answers() <= {person.name, EXCHANGER, "web"}, person.visitors.story()
        for since_s, until_s in person.spans:
            assert person.visitors.answers(since_s, until_s) <= {person.name}, person.visitors.story()
    assert everybody.answers() == {EXCHANGER, "web"}
    meshes = crowd[1:]
    assert [set(person.server.seen) for person in meshes] == [{person.name} for person in meshes]


def ktpys_things(lab: Lab) -> list[str]:
    kinds = "services,deployments,leases,ingresses"
    return lab.kubectl("-n", NAMESPACE, "get", kinds, "-l", "app.kubernetes.io/managed-by=ktpy", "-o", "name").split()


# --- at the same instant


@pytest.fixture
def both(laptops: list[Lab], pod: Path, shop: Shop) -> Iterator[list[Person]]:
    """Two people with a mesh each."""
    with people(laptops[:3], pod, shop.service("web").ipv4) as [_, one, other]:
        yield [one, other]


@pytest.fixture
def undisturbed(lab: Lab, pod: Path, shop: Shop) -> Iterator[Visitors]:
    """Nobody of the others notices anything, and afterwards everything is as before."""
    history = History(lab)
    with as_before(lab, "web"), visiting(pod, shop.service("web").ipv4, rate=40.0) as visitors:
        yield visitors
    assert visitors.answers() == {"web"}, f"{visitors.story()}\n{history}"
    assert visitors.slowest_s() < SLOWEST_S


@contextmanager
def stopping(people: list[Person], step: str) -> Iterator[list[Intercept]]:
    """Each comes, and is stopped before this step."""
    program = interrupted(signal.SIGSTOP, "before", step)
    intercepts = [
        Intercept(one.lab, one.kind, "web", "-n", NAMESPACE, *EXPOSED, *one.options, program=program) for one in people
    ]
    try:
        yield intercepts
    finally:
        for one in intercepts:
            with suppress(ProcessLookupError):
                one.process.send_signal(signal.SIGCONT)
            one.close()
            print(one.output)  # shown when the test fails


def go_on_at_once(intercepts: list[Intercept]) -> None:
    for one in intercepts:
        until_stopped(one.process)
    for one in intercepts:
        one.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("step", ["create the origin service", "create the gateway", "redirect the service"])
def test_two_come_at_the_same_instant(step: str, lab: Lab, undisturbed: Visitors, both: list[Person]) -> None:
    """One creates what they share, the other joins."""
    with stopping(both, step) as intercepts:
        go_on_at_once(intercepts)
        sessions = {one.wait_ready()["session"] for one in intercepts}
        gateways = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=ktpy.dev/gateway%3Dweb")["items"]
        assert len(gateways) == 1
        annotation = lab.api.get(f"{SERVICES}/web")["metadata"]["annotations"]["ktpy.dev/intercepted"]
        assert set(json.loads(annotation)["sessions"]) == sessions
        for person in both:
            until_answered(person.visitors, person.name)
        for one in intercepts:
            one.leave()


@pytest.mark.parametrize("step", ["restore the service", "delete the gateway", "delete the origin service"])
def test_the_last_two_leave_at_the_same_instant(step: str, undisturbed: Visitors, both: list[Person]) -> None:
    """One of them turns out to be the last, and only one."""
    with stopping(both, step) as intercepts:
        for one in intercepts:
            one.wait_ready()
        for one in intercepts:
            one.process.send_signal(signal.SIGINT)
        go_on_at_once(intercepts)
        assert [one.wait_ended() for one in intercepts] == [0, 0]
    for person in both:
        assert person.visitors.failures() == [], person.visitors.story()


def test_one_comes_while_the_last_one_leaves(undisturbed: Visitors, both: list[Person]) -> None:
    """Whoever comes too late finds no gateway, and makes a new one."""
    one, other = both
    with stopping([one], "delete the gateway") as [leaving]:
        leaving.wait_ready()
        leaving.process.send_signal(signal.SIGINT)
        until_stopped(leaving.process)
        with stopping([other], "create the gateway") as [coming]:
            go_on_at_once([leaving, coming])
            coming.wait_ready()
            until_answered(other.visitors, other.name)
            assert leaving.wait_ended() == 0
            coming.leave()
