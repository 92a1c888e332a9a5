"""From the command line to what the session is asked for, and back to what is shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ktpy.cli import render
from ktpy.cli.main import cli
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.codec import to_json
from ktpy.observe.events import Ended, Notice, PortsChanged, Ready, Report
from ktpy.observe.status import PortStatus
from ktpy.sessions import intercept
from ktpy.sessions.options import AppProtocol, ExposeOption, InterceptOptions
from ktpy.wire.route import Header, Match
from tests.kit.intercepts import EXCHANGE

PORT = PortStatus(80, 3001, is_local_up=True, is_up=True, requests=7, fallbacks=2)
STATUS = replace(EXCHANGE, ports=(PORT,))


def quiet(report: Report) -> None:
    """A session that says nothing."""


class Asked:
    """What the session was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: InterceptOptions | None = None
        self.session: Callable[[Report], None] = quiet
        monkeypatch.setattr(intercept, "run", self._run)
        monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [Path("connect.sock")])

    def _run(self, options: InterceptOptions, _caller: object, report: Report) -> int:
        self.options = options
        self.session(report)
        report(Ended(0, "Left; web is as before."))
        return 0

    def by(self, *arguments: str, env: dict[str, str] | None = None) -> InterceptOptions:
        done = run(*arguments, env=env)
        assert done.exit_code == 0, done.output
        assert self.options is not None
        return self.options


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, env=env)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_exchange(asked: Asked) -> None:
    assert asked.by("exchange", "web", "--expose", "3001:80", "-n", "shop") == InterceptOptions(
        kind="exchange", target="web", expose=(ExposeOption(3001, "80"),), namespace="shop"
    )


@pytest.mark.parametrize("arguments", [["web.shop"], ["svc/web.shop"], ["web.shop", "-n", "shop"]])
def test_the_namespace_as_in_dns(asked: Asked, arguments: list[str]) -> None:
    options = asked.by("exchange", *arguments, "--expose", "3001:80")
    assert (options.target, options.namespace) == ("web", "shop")


@pytest.mark.parametrize(
    "arguments",
    [["--expose", "3001:80", "--expose", "3002:grpc"], ["-e", "3001:80,3002:grpc"], ["-e", "3001:80, 3002:grpc"]],
)
def test_ports_are_repeated_or_listed(asked: Asked, arguments: list[str]) -> None:
    assert asked.by("exchange", "web", *arguments).expose == (ExposeOption(3001, "80"), ExposeOption(3002, "grpc"))


def test_options_come_from_the_environment_too(asked: Asked) -> None:
    environment = {
        "KTPY_EXPOSE": "3001:80",
        "KTPY_NAMESPACE": "shop",
        "KTPY_WHEN_LOCAL_DOWN": "fail",
        "KTPY_PROTOCOL": "tcp",
        "KTPY_IMAGE": "registry.example/agent:1",
        "KTPY_POD_TIMEOUT": "7",
        "KTPY_REPLICAS": "2",
    }
    options = asked.by("exchange", "web", env=environment)
    assert options.expose == (ExposeOption(3001, "80"),)
    assert (options.namespace, options.when_local_down, options.protocol) == ("shop", "fail", AppProtocol.TCP)
    assert (options.image, options.pod_timeout_s, options.replicas) == ("registry.example/agent:1", 7, 2)


def test_labels_of_the_gateway(asked: Asked) -> None:
    arguments = ["--gateway-label", "team=shop,tier=web", "--gateway-label", "a="]
    assert asked.by("exchange", "web", "-e", "1", *arguments).gateway_labels == {"team": "shop", "tier": "web", "a": ""}


def test_a_command_with_options_of_its_own(asked: Asked) -> None:
    assert asked.by("exchange", "web", "-e", "3001", "--", "npm", "start", "--detach").command == (
        "npm",
        "start",
        "--detach",
    )


def test_a_version_matches_the_header_or_the_baggage(asked: Asked) -> None:
    match = asked.by("mesh", "web", "-e", "3001", "--version", "foobar").match
    assert match == Match((Header("VERSION", "foobar"),), None, (("ktpy-version", "foobar"),))


def test_beside_other_headers_baggage_is_no_way_round_them(asked: Asked) -> None:
    match = asked.by(
        "mesh", "web", "-e", "3001", "--version", "v", "--header", "x-user=~^al", "--path-prefix", "/a"
    ).match
    assert match == Match((Header("VERSION", "v"), Header("x-user", "^al", is_regex=True)), "/a")


def test_without_a_match_the_version_is_the_user_name_and_is_told(asked: Asked) -> None:
    done = run("mesh", "web", "-e", "3001")
    assert asked.options is not None
    assert asked.options.match is not None
    [header] = asked.options.match.headers
    assert f"requests with the header VERSION: {header.value} come here" in done.output


def test_preview(asked: Asked) -> None:
    options = asked.by("preview", "pay", "-e", "3001:8080", "--ingress", "pay.example.org", "--ingress-class", "nginx")
    assert (options.kind, options.target) == ("preview", "pay")
    assert (options.ingress_host, options.ingress_class) == ("pay.example.org", "nginx")
    options = asked.by("preview", "pay", "-e", "3001:8080", "--gateway-route", "pay.example.org", "--gateway", "a/edge")
    assert (options.gateway_route_host, options.gateway) == ("pay.example.org", "a/edge")


WRONG = {
    "no port": (["exchange", "web"], "--expose"),
    "port of letters": (["exchange", "web", "-e", "http"], "is not LOCAL[:REMOTE]"),
    "port too large": (["exchange", "web", "-e", "70000"], "is not LOCAL[:REMOTE]"),
    "nothing after the colon": (["exchange", "web", "-e", "3001:"], "is not LOCAL[:REMOTE]"),
    "remote too large": (["exchange", "web", "-e", "3001:70000"], "ports are 1 to 65535"),
    "label without value": (["exchange", "web", "-e", "1", "--gateway-label", "team"], "KEY=VALUE"),
    "header without value": (["mesh", "web", "-e", "1", "--header", "x-user"], "NAME=VALUE"),
    "header of spaces": (["mesh", "web", "-e", "1", "--header", "x user=a"], "NAME=VALUE"),
    "value with a newline": (["mesh", "web", "-e", "1", "--header", "x=a\nb"], "printable ASCII"),
    "value with a space before": (["mesh", "web", "-e", "1", "--header", "x= a"], "printable ASCII"),
    "empty regular expression": (["mesh", "web", "-e", "1", "--header", "x=~"], "printable ASCII"),
    "regular expression": (["mesh", "web", "-e", "1", "--header", "x=~("], "The regular expression of header x"),
    "no target": (["exchange", "a/b/c", "-e", "1"], "such as web or deployment/web"),
    "two namespaces": (["exchange", "web.shop", "-e", "1", "-n", "test"], "contradict each other"),
    "version with a space": (["mesh", "web", "-e", "1", "--version", "a b"], "letters, digits"),
    "path without a slash": (["mesh", "web", "-e", "1", "--path-prefix", "api"], "begins with a slash"),
    "path with a query": (["mesh", "web", "-e", "1", "--path-prefix", "/a?b"], "begins with a slash"),
    "udp": (["exchange", "web", "-e", "1", "--protocol", "udp"], "'udp' is not one of"),
    "detached command": (["exchange", "web", "-e", "1", "-d", "--", "true"], "do not go together"),
    "class without ingress": (["preview", "pay", "-e", "1", "--ingress-class", "nginx"], "--ingress HOST"),
    "gateway without route": (["preview", "pay", "-e", "1", "--gateway", "edge"], "--gateway-route HOST"),
    "no gateway": (["preview", "pay", "-e", "1", "--gateway-route", "a.org", "--gateway", "a/b/c"], "[NAMESPACE/]NAME"),
    "leave all and one": (["leave", "web", "--all"], "Name a TARGET"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(asked: Asked, name: str) -> None:
    arguments, message = WRONG[name]
    done = run(*arguments)
    assert (done.exit_code, message in done.output.replace("\n", " ")) == (2, True), done.output
    assert asked.options is None


# --- what is shown


def talk(report: Report) -> None:
    report(Notice("The port is closed."))
    report(Ready(STATUS))
    report(PortsChanged((PORT,)))


def test_text(asked: Asked) -> None:
    """No terminal: the state of the ports is not drawn again and again."""
    asked.session = talk
    assert run("exchange", "web", "-e", "3001").output == (
        "  note      The port is closed.\n"
        "exchange of web in namespace shop of lab\n"
        "  port 80    to local port 3001  (up): 7 requests here, 2 elsewhere\n"
        "Ctrl-C ends it and undoes everything.\n"
        "Left; web is as before.\n"
    )


def test_connections_that_wait_are_shown() -> None:
    line = click.unstyle(render.port(replace(PORT, is_local_up=False, local_state="down", waiting=3)))
    assert line == "  port 80    to local port 3001  (down): 7 requests here, 2 elsewhere, 3 waiting"


def test_a_newcomer_is_told_that_connect_belongs_to_it(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [])
    assert "Not connected: your program reaches no other service" in run("exchange", "web", "-e", "3001").output


def test_json(asked: Asked) -> None:
    asked.session = talk
    events: list[dict[str, Any]] = [
        json.loads(line) for line in run("exchange", "web", "-e", "3001", "-o", "json").output.splitlines()
    ]
    assert [event["kind"] for event in events] == ["notice", "ready", "routed", "ended"]
    assert events[0]["schema"] == 1
    assert events[1]["status"] == json.loads(json.dumps(to_json(STATUS)))
    assert events[2]["ports"] == [to_json(PORT)]


@pytest.mark.parametrize("output", ["text", "json"])
def test_standard_output_belongs_to_the_command(asked: Asked, output: str) -> None:
    asked.session = talk
    done = run("exchange", "web", "-e", "3001", "-o", output, "--", "true")
    assert done.stdout == ""
    assert "The port is closed." in done.stderr


def test_repeatable_options_take_commas_and_blanks_from_the_environment(asked: Asked) -> None:
    environment = {
        "KTPY_EXPOSE": "3001:80 3002:81,3003:82",
        "KTPY_GATEWAY_LABEL": "a=1, b=2",
        "KTPY_HEADER": "x=1, y=2",
    }
    options = asked.by("mesh", "web", env=environment)
    assert options.expose == (ExposeOption(3001, "80"), ExposeOption(3002, "81"), ExposeOption(3003, "82"))
    assert options.gateway_labels == {"a": "1", "b": "2"}
    assert options.match is not None
    assert [header.name for header in options.match.headers] == ["x", "y"]
