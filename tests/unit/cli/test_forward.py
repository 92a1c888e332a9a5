from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.forward import forward
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Ended, Ready, Report
from ktpy.observe.status import ConnectStatus, ForwardStatus
from ktpy.sessions import forward as session
from ktpy.sessions.options import CaptureSpec, ConnectOptions, ForwardOptions, PortChoice, Via

module = import_module("ktpy.cli.forward")
CALLER = Caller(uid=1000, gid=1000, name="al", home=Path())
VARIABLES = {"WEB_SERVICE_HOST": "127.0.0.1", "WEB_SERVICE_PORT": "8080"}
STATUS = ConnectStatus(
    kind="forward",
    pid=7,
    server="https://a",
    context="lab",
    namespace="shop",
    state="connected",
    uptime_s=3.2,
    forwards=(ForwardStatus("web", 80, "TCP", 8080, VARIABLES), ForwardStatus("echo", 7, "UDP", 8007)),
)


class Asked:
    """What the session was asked for. It fakes the session and its process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: tuple[ConnectOptions, ForwardOptions] | None = None
        monkeypatch.setattr(session, "run", self._run)
        monkeypatch.setattr(Caller, "become", lambda: CALLER)

    def _run(self, options: ConnectOptions, of_forward: ForwardOptions, caller: Caller, report: Report) -> int:
        assert caller is CALLER
        self.options = (options, of_forward)
        report(Ready(STATUS))
        report(Ended(0, "Disconnected."))
        return 0

    def by(self, *arguments: str) -> Result:
        return CliRunner().invoke(forward, arguments)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_a_target_and_its_ports(asked: Asked) -> None:
    asked.by("svc/web.shop", "8080:http", ":9000/udp", "--via", "node", "--", "true")
    options = ConnectOptions(namespace="shop", pods=False, capture=CaptureSpec("forward"), via=Via(), command=("true",))
    ports = (PortChoice(8080, "http"), PortChoice(0, "9000", "UDP"))
    assert asked.options == (options, ForwardOptions("service/web", ports))


def test_a_table_of_where_everything_is(asked: Asked) -> None:
    assert asked.by("--all").stdout.splitlines() == [
        "connected to lab (https://a), namespace shop",
        "  127.0.0.1:8080  to port 80 of web",
        "  127.0.0.1:8007  to port 7/UDP of echo",
        "Ctrl-C ends it and undoes everything.",
        "Disconnected.",
    ]
    assert asked.options
    assert asked.options[1] == ForwardOptions()


def test_what_a_shell_evaluates(asked: Asked) -> None:
    lines = asked.by("web", "--output", "env").stdout.splitlines()
    assert lines == ["export WEB_SERVICE_HOST=127.0.0.1", "export WEB_SERVICE_PORT=8080"]


@pytest.mark.parametrize(("target", "name"), [("deploy/web", "forward-deploy-web"), ("--all", "forward-all")])
def test_in_the_background(monkeypatch: pytest.MonkeyPatch, asked: Asked, target: str, name: str) -> None:
    logs: list[str | None] = []

    def perform(work: Callable[[Report], int], show: Report, caller: Caller, log_name: str | None) -> int:
        logs.append(log_name)
        return work(show)

    monkeypatch.setattr(module, "perform", perform)
    ended_by = target if target != "--all" else name
    assert f"`ktpy leave {ended_by}` ends it" in asked.by(target, "--detach").stdout
    assert logs == [name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a TARGET, or --all"),
        (["web", "--all"], "a TARGET, or --all"),
        (["web", "80:90:100"], "is not [LOCAL:]PORT"),
        (["web!"], "is not NAME"),
        (["web", "-d", "--", "true"], "do not go together"),
    ],
)
def test_wrong_usage(asked: Asked, arguments: list[str], words: str) -> None:
    refused = asked.by(*arguments)
    assert (refused.exit_code, words in " ".join(refused.output.split())) == (2, True), refused.output
    assert asked.options is None
