from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.daemon.logs import EndedSession, ended_sessions, event_of, log_name, logs, target_log_name
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.events import Ended, Event, Notice, Ready, encode
from ktpy.observe.status import ConnectStatus

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=1.0)
LOST = Ended(40, "The link went silent.", is_error=True)


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDirectory:
    return RuntimeDirectory(tmp_path)


def write(runtime: RuntimeDirectory, name: str, *events: Event) -> None:
    runtime.log(name).write_text("not JSON\n" + "".join(f"{encode(event)}\n" for event in events))


def ended(runtime: RuntimeDirectory, *running: ConnectStatus) -> list[tuple[str, Ended | None]]:
    return [(one.name, one.ended) for one in ended_sessions(runtime, running)]


def test_a_session_that_failed_is_remembered(runtime: RuntimeDirectory) -> None:
    write(runtime, "connect", Ready(STATUS), LOST)
    [one] = ended_sessions(runtime, [])
    assert one == EndedSession("connect", runtime.log("connect").stat().st_mtime, LOST)


def test_one_that_was_killed_has_no_last_word(runtime: RuntimeDirectory) -> None:
    write(runtime, "connect", Ready(STATUS), Notice("Something."))
    assert ended(runtime) == [("connect", None)]


def test_what_is_not_worth_a_word(runtime: RuntimeDirectory) -> None:
    write(runtime, "exchange-web", Ready(STATUS), Ended(0, "Left."))  # as asked
    write(runtime, "exchange-db", LOST)  # never stood: the command that began it has told
    write(runtime, "connect", Ready(STATUS), LOST)  # runs again
    assert ended(runtime, STATUS) == []


@pytest.mark.parametrize(
    "line", ["", "{", "7", "[]", "{}", '{"kind": "odd"}', '{"kind": "ready"}', '{"kind": "notice"}']
)
def test_other_lines_are_no_events(line: str) -> None:
    assert event_of(line) is None


def test_logs_have_the_names_of_their_sessions(runtime: RuntimeDirectory) -> None:
    write(runtime, target_log_name("exchange", "deployment/web"))
    assert list(logs(runtime)) == ["exchange-deployment-web"]
    forward = replace(STATUS, kind="forward")
    named = replace(forward, reference="pod/db-0")
    assert list(map(log_name, (STATUS, forward, named))) == ["connect", "forward-all", "forward-pod-db-0"]
    assert log_name(replace(STATUS, name="east")) == "connect-east"
