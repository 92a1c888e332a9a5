"""A whole `ktpy exchange` on an API of objects: what it reports, and that nothing is left. No pod is ever dialled."""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from ktpy.cluster.service.ports import PortMapping
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Records
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import CommandAbsent, RouteTaken, TargetAbsent
from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice, PortsChanged, Ready, StartStep
from ktpy.observe.status import InterceptStatus
from ktpy.serve import command
from ktpy.serve.exposure import Exposure
from ktpy.sessions.intercept import Intercept
from ktpy.sessions.options import ExposeOption, Header, InterceptOptions, Match
from ktpy.wire.route import RouteHello
from tests.kit.waiting import until
from tests.unit.cluster.gateway_cases import REDIRECTED, essence, furnish, gateway, is_clean, selector
from tests.unit.kube.object_store import LEASES, ObjectStore

PORT = 9  # discard: nobody serves it here
STEPS = [
    "claim a lease",
    "create the origin service",
    "create the gateway",
    "wait for a gateway pod",
    "redirect the service",
    "wait for the endpoints",
]


class StandingRoutes:
    """In place of Routes: the first one stands at once, unless it is refused."""

    refusal: RouteTaken | None = None

    hellos: ClassVar[list[RouteHello]] = []

    def __init__(self, _api: Api, _pods: Any, _key: Any, hello: RouteHello, *_: Any) -> None:
        self.hellos.append(hello)

    async def first(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def served(self) -> None:
        """They come at once."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def local_down(self) -> list[str]:
        return []


class Exchange:
    """The session, and what it has reported."""

    def __init__(
        self,
        caller: Caller,
        *command: str,
        target: str = "web",
        kind: str = "exchange",
        local: int = PORT,
        **others: Any,
    ) -> None:
        self.events: list[Event] = []
        self._ready = asyncio.Event()
        options = InterceptOptions(kind, target, (ExposeOption(local, "80"),), command=command, **others)
        self.session = Intercept(options, caller, self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Ready):
            self._ready.set()

    async def start(self) -> "asyncio.Task[int]":
        """Run until it is ready."""
        running = asyncio.create_task(self.session.run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        assert self._ready.is_set(), await running
        return running

    def steps(self) -> list[str]:
        return [event.detail for event in self.events if isinstance(event, StartStep) and event.name == "gateway"]

    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


@pytest.fixture
def caller() -> Iterator[Caller]:
    """Nobody, so that the runtime directory is under a home whose name is short enough for a socket's path."""
    with TemporaryDirectory() as home:
        yield Caller(4_000_000_000, 4_000_000_000, "al", Path(home))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, store_api: Api) -> None:
    async def load(*_: object) -> Api:
        return store_api

    monkeypatch.setattr(Api, "load", load)
    monkeypatch.setattr("ktpy.sessions.intercept.Routes", StandingRoutes)


async def test_from_nothing_to_ready_to_undone(store: ObjectStore, caller: Caller) -> None:
    before = furnish(store)
    exchange = Exchange(caller)
    running = await exchange.start()
    assert exchange.steps() == STEPS
    assert selector(store) == REDIRECTED
    [ready] = [event.status for event in exchange.events if isinstance(event, Ready)]
    assert isinstance(ready, InterceptStatus)
    assert (ready.kind, ready.target, ready.state, ready.owner[:3]) == ("exchange", "web", "intercepted", "al@")
    assert [(port.port, port.local_port, port.is_local_up) for port in ready.ports] == [(80, PORT, False)]
    [path] = RuntimeDirectory.of(caller).control_sockets()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"verb": "status"}\n{"verb": "quit"}\n')
    assert json.loads(await reader.readline())["session"] == ready.session
    assert json.loads(await reader.readline()) == {"ending": True}
    assert await running == 0
    writer.close()
    assert exchange.session.farewell == "Left by ktpy leave; web is as before."
    assert essence(store) == before
    assert is_clean(store)
    assert RuntimeDirectory.of(caller).control_sockets() == []
    with Records.of(caller).stale() as records:
        assert records == []


@pytest.mark.parametrize(("match", "offers"), [(None, 1), (Match((), "/api"), 0)])
async def test_what_begins_on_this_laptop_is_offered_the_way_past_the_cluster_until_it_leaves(
    store: ObjectStore, caller: Caller, match: Match | None, offers: int
) -> None:
    furnish(store)
    folder = RuntimeDirectory.of(caller).shortcuts
    with socket.create_server(("127.0.0.1", 0)) as served:
        exchange = Exchange(caller, local=served.getsockname()[1], match=match)
        running = await exchange.start()
        if offers:
            await until(lambda: folder.is_dir() and len(list(folder.iterdir())) == offers, "the shortcut")
        exchange.session._request_leave()
        assert await running == 0
    assert not folder.is_dir() or list(folder.iterdir()) == []


async def test_a_tap_asks_for_copies_beside_who_has_the_requests(
    store: ObjectStore, store_api: Api, caller: Caller
) -> None:
    furnish(store)
    await gateway(store_api, "other").enter()
    tap = Exchange(caller, kind="tap", match=Match((), "/api"), copied_percent=5)
    running = await tap.start()
    [route] = StandingRoutes.hellos[-1].routes
    assert (route.match, route.copied_percent) == (Match((), "/api"), 5)
    [ready] = [event.status for event in tap.events if isinstance(event, Ready)]
    assert isinstance(ready, InterceptStatus)
    assert ready.try_command is None, "its copy may not be drawn"
    assert f"Nothing answers on local port {PORT} yet: until then requests for port 80 are not copied." in tap.notices()
    leases = [store.get(LEASES, name) for name in store.names(LEASES)]
    assert "tap of port 80, path /api, 5 %" in json.dumps(leases)
    tap.session._request_leave()
    assert await running == 0


async def test_a_local_port_that_is_down_is_told_before_anything_is_changed(store: ObjectStore, caller: Caller) -> None:
    furnish(store)
    exchange = Exchange(caller)
    running = await exchange.start()
    warning = f"Nothing answers on local port {PORT} yet: until then requests for port 80 go to the original pods."
    assert warning in exchange.notices()
    told_at = next(index for index, event in enumerate(exchange.events) if event == Notice(warning))
    assert not any(isinstance(event, PortsChanged) for event in exchange.events[:told_at])
    assert [event.name for event in exchange.events[:told_at] if isinstance(event, StartStep)] == ["cluster"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_it_leaves_with_the_end_of_the_command_and_its_exit_code(
    store: ObjectStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = furnish(store)
    exchange = Exchange(caller, "sh", "-c", "exit 3")
    commands: list[Sequence[str]] = []

    async def run(arguments: Sequence[str], environment: Mapping[str, str], _base: Mapping[str, str]) -> int:
        assert (environment["KTPY_SERVICE"], environment["KTPY_NAMESPACE"]) == ("web", "shop")
        commands.append(arguments)
        return 3

    monkeypatch.setattr(command, "run", run)
    running = await exchange.start()
    assert await running == 3
    assert exchange.session.farewell == "sh ended with 3; web is as before."
    assert [list(arguments) for arguments in commands] == [["sh", "-c", "exit 3"]]
    assert essence(store) == before
    assert is_clean(store)


async def test_an_absent_command_changes_nothing(store: ObjectStore, caller: Caller) -> None:
    furnish(store)
    exchange = Exchange(caller, "no-such-command-anywhere")
    with pytest.raises(CommandAbsent):
        await exchange.session.run()
    assert (exchange.events, store.writes) == ([], [])


async def test_an_absent_service_changes_nothing(store: ObjectStore, caller: Caller) -> None:
    furnish(store)
    exchange = Exchange(caller, target="shop")
    with pytest.raises(TargetAbsent):
        await exchange.session.run()
    assert (exchange.events, store.writes) == ([], [])


async def test_a_port_that_somebody_has_is_told_before_the_service_changes(
    store: ObjectStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = furnish(store)
    monkeypatch.setattr(StandingRoutes, "refusal", RouteTaken("Port 80 is exchanged by bo already."))
    exchange = Exchange(caller)
    with pytest.raises(RouteTaken):
        await exchange.session.run()
    assert "PATCH services/web" not in store.writes
    assert essence(store) == before
    assert is_clean(store)


def test_ctrl_c_is_for_the_command_while_it_runs(caller: Caller) -> None:
    session = Exchange(caller, "sleep", "1").session
    assert session.handles_signal(2)
    session._command.is_running = True
    assert not session.handles_signal(2)
    assert session.handles_signal(15)


async def test_the_end_is_told_at_once_and_no_second_signal_breaks_it(store: ObjectStore, caller: Caller) -> None:
    before = furnish(store)
    exchange = Exchange(caller)
    running = await exchange.start()
    told = len(exchange.events)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    steps = [event for event in exchange.events[told:] if isinstance(event, StartStep)]
    assert (steps[0].name, steps[0].detail) == ("end", "giving web back ...")
    assert len(steps) > 3
    assert exchange.session.farewell == "Left; web is as before."
    assert essence(store) == before
    assert is_clean(store)
    with Records.of(caller).stale() as records:
        assert records == []


async def test_before_anything_is_made_nothing_was_changed(caller: Caller) -> None:
    assert Exchange(caller).session.farewell == "Interrupted; nothing was changed."


async def test_a_signal_that_cuts_the_command_off_is_no_good_end(caller: Caller) -> None:
    session = Exchange(caller, "sleep", "1").session
    session.is_ready = True
    assert session.ends_well
    session._command.is_running = True
    assert not session.ends_well


async def test_my_own_second_exchange_is_told_as_mine(
    store: ObjectStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    exchange = Exchange(caller)
    sentence = f"Port 80 is exchanged by {exchange.session._owner} already."
    monkeypatch.setattr(StandingRoutes, "refusal", RouteTaken(sentence, hint="Ask the holder."))
    with pytest.raises(RouteTaken) as taken:
        await exchange.session.run()
    assert taken.value.hint == "That is you, on this laptop: ktpy leave web ends it."


async def test_who_leaves_others_does_not_say_that_all_is_as_before(
    store: ObjectStore, store_api: Api, caller: Caller
) -> None:
    furnish(store)
    await gateway(store_api, "other").enter()
    exchange = Exchange(caller)
    running = await exchange.start()
    exchange.session._request_leave()
    assert await running == 0
    assert exchange.session.farewell == "Left by ktpy leave; others intercept web still, or keep its gateway."
    assert "restore the service" not in exchange.steps()


@pytest.mark.parametrize(
    ("match", "command_line"),
    [
        (None, "curl http://web.shop/"),
        (Match((Header("x", "a.*", is_regex=True),)), None),
        (Match((Header("VERSION", "dev"),)), "curl -H 'VERSION: dev' http://web.shop/"),
        (Match((Header("x", "it's"),), "/api"), """curl -H 'x: it'"'"'s' http://web.shop/api"""),
    ],
)
async def test_the_line_to_try(store_api: Api, caller: Caller, match: Match | None, command_line: str | None) -> None:
    options = InterceptOptions("mesh", "web", (ExposeOption(PORT, "80"),), match=match)
    session = Intercept(options, caller, lambda _: None)
    exposed = PortMapping(PORT, 80)
    exposure = Exposure([exposed], "go", lambda _: None)
    assert session._try_command(store_api, exposure) is None  # nobody says that HTTP is spoken there
    session._http_ports = {exposed.service_port}
    assert session._try_command(store_api, exposure) == command_line


async def test_what_may_keep_requests_elsewhere_is_told_once(
    store: ObjectStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    monkeypatch.setattr(Exposure, "silence", lambda *_: "No request has passed the gateway yet.")
    exchange = Exchange(caller)
    running = await exchange.start()
    await asyncio.sleep(60)
    exchange.session._request_leave()
    assert await running == 0
    assert exchange.notices().count("No request has passed the gateway yet.") == 1


async def test_what_may_keep_requests_elsewhere_is_not_told_to_who_leaves(
    store: ObjectStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    monkeypatch.setattr(Exposure, "silence", lambda *_: "No request has passed the gateway yet.")
    exchange = Exchange(caller)
    running = await exchange.start()
    exchange.session._is_leaving = True
    await asyncio.sleep(60)
    exchange.session._request_leave()
    assert await running == 0
    assert "No request has passed the gateway yet." not in exchange.notices()


async def test_its_requests_can_be_watched(store: ObjectStore, caller: Caller) -> None:
    furnish(store)
    exchange = Exchange(caller)
    running = await exchange.start()
    [path] = RuntimeDirectory.of(caller).control_sockets()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"verb": "watch"}\n')
    told = json.loads(await reader.readline())
    assert (told["kind"], told["intercept"], told["service"], told["why"]) == (
        "watching",
        "exchange",
        "web",
        "every request",
    )
    assert told["session"] == exchange.session._session
    exchange.session._request_leave()
    assert await running == 0
    writer.close()
