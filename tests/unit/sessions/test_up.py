"""What `ktpy up` has to do, in which order, and what becomes of it. Its processes are in the component tests."""

from collections.abc import Iterable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.daemon import control_client, process_group
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import COMMAND, CONNECT, FORWARD, RuntimeDirectory
from ktpy.daemon.session_command import SessionCommand
from ktpy.errors import KtpyError, SessionSilent
from ktpy.observe.events import Ended, Notice, Ready, StartStep, encode
from ktpy.observe.status import CommandStatus, ConnectStatus, ForwardStatus, SessionStatus, UpEntry
from ktpy.sessions import up
from ktpy.sessions.up import END, NONE, RESTART, START, WAITS, Entry, Outcome, Running, Step
from tests.kit.intercepts import EXCHANGE

FILE = Path("/home/al/ktpy.yaml")
CONNECTED = Entry(CONNECT, "connect", ("connect",), "c")
WEB = Entry("mesh", "mesh-web", ("mesh", "web"), "w")
DB = Entry(FORWARD, "forward-db", ("forward", "db"), "f")
API = Entry(COMMAND, "command-api", ("npm",), "a", environment={"OWN": "1"})
FORWARDED = ForwardStatus("db", 5432, "TCP", 5432, {"DB_SERVICE_HOST": "127.0.0.1"})


def stands(entry: Entry, digest: str | None = None, file: Path = FILE) -> Running:
    told = UpEntry(str(file), entry.name, digest or entry.digest)
    status: SessionStatus = replace(EXCHANGE, kind=entry.kind, up=told)
    if entry.kind == COMMAND:
        status = CommandStatus(reference="api", words=entry.words, pid=3, process=4, uptime_s=1, up=told)
    elif entry.kind in (CONNECT, FORWARD):
        place: Any = {"server": "https://a", "context": "lab", "namespace": "shop", "state": "connected"}
        forwards = (FORWARDED,) if entry.kind == FORWARD else ()
        status = ConnectStatus(kind=entry.kind, pid=5, uptime_s=1, up=told, forwards=forwards, **place)
    return Running(Path(f"{entry.kind}.{entry.name}.sock"), status)


def changes(steps: Iterable[Step]) -> list[tuple[str, str]]:
    return [(one.name, one.change) for one in steps]


def test_a_plan_begins_what_is_gone_and_ends_what_is_not_named_and_changes_nothing_else() -> None:
    unwanted = replace(DB, is_wanted=False)
    present = [stands(CONNECTED), stands(WEB, "otherwise"), stands(replace(DB, name="forward-old"), "gone")]
    steps = up.plan([CONNECTED, WEB, unwanted], present)
    assert changes(steps) == [("connect", NONE), ("mesh-web", RESTART), ("forward-old", END)]
    assert [one.running for one in steps] == [None, present[1], present[2]]
    assert changes(up.plan([CONNECTED, unwanted], [stands(CONNECTED), stands(DB)])) == [
        ("connect", NONE),
        ("forward-db", NONE),
    ]


class World:
    """The user's sessions. It fakes their processes, and begins and ends them at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.sessions: list[Running] = []
        self.did: list[str] = []
        self.failing: set[str] = set()
        monkeypatch.setattr(RuntimeDirectory, "of", lambda _: RuntimeDirectory(folder))
        self.silent: dict[Path, SessionSilent] = {}
        monkeypatch.setattr(up, "running", lambda _: (list(self.sessions), self.silent))
        monkeypatch.setattr(up, "end_orphans", lambda *_: self.did.append("orphans"))
        monkeypatch.setattr(up, "_start", lambda entry, *_: self.did.append(f"start {entry.name}"))
        monkeypatch.setattr(up, "_await", lambda step, *_: self._begun(step))
        monkeypatch.setattr(up, "_begin_command", lambda step, entry, *_: self._begun(replace(step, entry=entry)))
        monkeypatch.setattr(control_client, "quit_session", self._quit)

    def _begun(self, step: Step) -> Outcome:
        assert step.entry is not None
        if step.name in self.failing:
            return Outcome(step, failure=Ended(24, "no pod", is_error=True))
        self.did.append(f"begun {step.name} {sorted(step.entry.environment)}")
        self.sessions.append(stands(step.entry))
        return Outcome(step, self.sessions[-1].status)

    def _quit(self, path: Path, _timeout_s: float) -> None:
        if any(name in path.name for name in self.failing):
            raise KtpyError("It has not ended.")
        self.did.append(f"ended {path.name.split('.')[1]}")
        self.sessions = [one for one in self.sessions if one.path != path]

    def up(self, *entries: Entry, names: tuple[str, ...] = (), is_dry: bool = False) -> list[tuple[str, str]]:
        caller = Caller(1000, 1000, "al", Path())
        outcomes = list(up.up(entries, FILE, caller, lambda *_: None, names, is_dry=is_dry))
        return [
            (one.step.name, f"failed {one.failure.exit_code}" if one.failure else one.step.reason or one.step.change)
            for one in outcomes
        ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


EVERYTHING = (API, DB, WEB, CONNECTED)


def test_connection_first_then_the_others_side_by_side_then_commands_with_their_ports(world: World) -> None:
    world.up(*EVERYTHING)
    assert world.did == [
        "orphans",
        "start connect",
        "begun connect []",
        "start forward-db",
        "start mesh-web",
        "begun forward-db []",
        "begun mesh-web []",
        "begun command-api ['DB_SERVICE_HOST', 'OWN']",
    ]
    assert {change for _, change in world.up(*EVERYTHING)} == {NONE}
    assert {change for _, change in world.up(*EVERYTHING, is_dry=True)} == {NONE}
    assert len(world.did) == 9  # orphans


def test_a_dry_run_knows_that_ports_come_back_as_they_were(world: World) -> None:
    world.up(*EVERYTHING)
    world.sessions = [one for one in world.sessions if one.name != "forward-db"]
    assert ("command-api", NONE) in world.up(*EVERYTHING, is_dry=True)
    assert world.up(*EVERYTHING, names=("forward-db",)) == [("forward-db", START)]
    changed = replace(API, digest="b")
    assert ("command-api", "it is told otherwise now") in world.up(*EVERYTHING[1:], changed, is_dry=True)


def test_without_a_connection_nothing_is_begun_and_what_stands_stays(world: World) -> None:
    world.sessions = [stands(DB)]
    world.failing = {"connect"}
    assert world.up(*EVERYTHING) == [
        ("forward-db", NONE),
        ("connect", "failed 24"),
        ("mesh-web", WAITS),
        ("command-api", WAITS),
    ]
    assert [one.name for one in world.sessions] == ["forward-db"]


def test_of_those_side_by_side_one_failure_holds_up_the_commands_alone(world: World) -> None:
    world.failing = {"mesh-web"}
    assert dict(world.up(*EVERYTHING)) == {
        "connect": START,
        "forward-db": START,
        "mesh-web": "failed 24",
        "command-api": WAITS,
    }
    world.failing.clear()
    assert dict(world.up(*EVERYTHING)) == {
        "connect": NONE,
        "forward-db": NONE,
        "mesh-web": START,
        "command-api": START,
    }


def test_what_may_be_one_that_does_not_answer_is_not_begun_beside_it(world: World) -> None:
    world.sessions = [stands(DB)]
    world.silent = {Path("intercept.5e55.sock"): SessionSilent("Process 7 has not answered.")}
    began = [("connect", START), ("forward-db", NONE), ("mesh-web", "failed 71")]
    assert sorted(world.up(*EVERYTHING)) == sorted([*began, ("command-api", WAITS)])
    assert ("mesh-web", "failed 71") in world.up(*EVERYTHING, is_dry=True)
    assert world.up(*EVERYTHING, names=("connect",)) == [("connect", NONE)]
    world.silent = {Path("run.5e55.sock"): SessionSilent("It is of no file.")}
    assert ("mesh-web", START) in world.up(*EVERYTHING)
    world.sessions.clear()
    world.silent = {Path("connect.5e55.sock"): SessionSilent("Process 7 has not answered.")}
    assert dict(world.up(*EVERYTHING)) == {
        "connect": "failed 71",
        "mesh-web": WAITS,
        "forward-db": WAITS,
        "command-api": WAITS,
    }


def test_what_does_not_end_is_not_begun_again(world: World) -> None:
    world.sessions = [stands(WEB, "otherwise")]
    world.failing = {"mesh-web"}
    assert world.up(WEB) == [("mesh-web", "failed 1")]


def test_a_connection_that_the_user_began_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stands = ("lab", "tun", None)
    monkeypatch.setattr(up, "connected_to", lambda target, mode, _, name: (target, mode, name) == stands)
    mine: Any = replace(CONNECTED, target="lab", mode="tun")  # type: ignore[arg-type]
    assert world.up(mine) == [("connect", "it was begun without `ktpy up`")]
    assert world.up(replace(mine, mode="proxy")) == [("connect", START)]


def test_commands_end_first_and_connections_last(world: World) -> None:
    world.up(*EVERYTHING)
    world.did.clear()
    ours = up.of_file([*world.sessions, stands(WEB, file=Path("/other/ktpy.yaml"))], FILE)
    assert [one.failure for one in up.down(ours)] == [None] * 4
    assert (world.did[0], set(world.did[1:3]), world.did[3]) == (
        "ended command-api",
        {"ended mesh-web", "ended forward-db"},
        "ended connect",
    )


class Saying(SessionCommand):
    """It fakes a process that has said this, and ended with 3."""

    def __init__(self, *lines: str) -> None:
        self.popen: Any = SimpleNamespace(wait=lambda: 3)
        self._verb, self._told = "mesh", StringIO("".join(f"{line}\n" for line in lines))


def test_what_a_process_says() -> None:
    told: list[tuple[str, str]] = []
    step = Step(START, "mesh-web", "mesh", entry=WEB)

    def outcome(*lines: str) -> Outcome:
        return up._await(step, Saying(*lines), lambda *words: told.append(words))

    notes = encode(StartStep("a", "b", 0.1)), encode(Notice("Mind this.")), "ktpy needs root"
    assert outcome(*notes, encode(Ready(EXCHANGE)), "what follows is of its session") == Outcome(step, EXCHANGE)
    assert told == [("mesh-web", "Mind this."), ("mesh-web", "ktpy needs root")]
    assert outcome(encode(Ended(0, "Already connected."))) == Outcome(step)
    no = '{"error": "No.", "hint": null, "exit_code": 2}'
    assert outcome(no) == Outcome(step, failure=Ended(2, "No.", is_error=True))
    failure = outcome().failure
    assert failure is not None
    assert (failure.exit_code, failure.message) == (3, "ktpy mesh ended with 3 and without a word.")


def test_another_at_work_is_told(world: World, tmp_path: Path) -> None:
    with RuntimeDirectory(tmp_path).one_up_or_down(), pytest.raises(KtpyError, match="Another `ktpy up`"):
        world.up(WEB)
    assert world.did == []
    assert process_group.end_orphans(RuntimeDirectory(tmp_path), COMMAND) == 0
