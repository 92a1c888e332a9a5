"""What `ktpy connect` refuses as a usage error before it starts anything, and what it asks the session for."""

import importlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.connect import connect
from ktpy.cli.main import cli
from ktpy.daemon import privileged
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Ended, Ready, Report
from ktpy.observe.status import ConnectStatus, ProxyStatus
from ktpy.sessions import connect as session
from ktpy.sessions import running
from ktpy.sessions.options import CaptureSpec, ConnectOptions, Via

command = importlib.import_module("ktpy.cli.connect")
"""The module: `ktpy.cli.connect` is its command, too."""
CALLER = Caller(uid=1000, gid=1000, name="al", home=Path())
HELPER = object()
CONNECTED = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)
PROXY = ProxyStatus(
    1080,
    "http://127.0.0.1:1080/proxy.pac",
    {"ALL_PROXY": "socks5h://127.0.0.1:1080 x", "HTTP_PROXY": "http://127.0.0.1:1080"},
)

RESERVED = "which is never routed."
WIDE = "as wide as a default route, which ktpy never takes."


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started() -> None:
        raise AssertionError("the session was started")

    monkeypatch.setattr(Caller, "current", started)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("10.96.0.1/16", "has host bits set (wanted: an address range such as 10.96.0.0/16)"),
        ("100.0.0.0/7", WIDE),
        ("2000::/3", WIDE),
        ("127.0.0.1/32", RESERVED),
        ("::1:0/112", RESERVED),
        ("::ffff:10.0.0.0/112", RESERVED),
    ],
)
def test_an_include_that_can_never_be_routed(network: str, reason: str) -> None:
    refused = CliRunner().invoke(connect, ["--include", network])
    assert refused.exit_code == 2
    assert "Invalid value for '--include': " in refused.output
    assert reason in " ".join(refused.output.split())


class Asked:
    """What the session was asked for, and what it says. It fakes the session, its process and its root."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: ConnectOptions | None = None
        self.log_name: str | None = None
        self.launched: Any = HELPER
        self.status = CONNECTED
        monkeypatch.setattr(session, "run", self._run)
        monkeypatch.setattr(Caller, "current", lambda: CALLER)
        monkeypatch.setattr(privileged, "launch_helper", lambda caller, _say: HELPER if caller is CALLER else None)
        monkeypatch.setattr(command, "perform", self._perform)

    def _perform(self, work: Callable[[Report], int], show: Report, _caller: Caller, log_name: str | None) -> int:
        self.log_name = log_name
        return work(show)

    def _run(self, options: ConnectOptions, launched: Any, caller: Caller, report: Report) -> int:
        assert caller is CALLER
        assert launched is self.launched or self.launched is None
        self.options, self.launched = options, launched
        report(Ready(self.status))
        report(Ended(0, "Disconnected."))
        return 0

    def by(self, *arguments: str, env: dict[str, str] | None = None) -> ConnectOptions:
        done = CliRunner().invoke(connect, arguments, env=env)
        assert done.exit_code == 0, done.output
        assert self.options is not None
        return self.options


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, nothing_starts: None) -> Asked:
    return Asked(monkeypatch)


def test_without_options_the_documented_defaults_count(asked: Asked) -> None:
    assert asked.by() == ConnectOptions()


def test_every_option_arrives(asked: Asked) -> None:
    arguments = ["--include", "10.1.0.0/16", "--exclude", "10.2.0.0/16", "--exclude", "fd00::/64", "--no-pods"]
    arguments += ["--no-dns", "--dns-zone", "corp.example", "--pod-timeout", "7", "--image", "registry.example/a:1"]
    arguments += ["-n", "shop", "--context", "lab", "--kubeconfig", "/k"]
    assert asked.by(*arguments) == ConnectOptions(
        kubeconfig="/k",
        context="lab",
        namespace="shop",
        include=(ip_network("10.1.0.0/16"),),
        exclude=(ip_network("10.2.0.0/16"), ip_network("fd00::/64")),
        dns_zones=("corp.example",),
        pods=False,
        dns=False,
        image="registry.example/a:1",
        pod_timeout_s=7,
    )


def test_a_name_means_that_what_overlaps_is_translated_unless_that_is_not_wanted(asked: Asked) -> None:
    assert asked.by("--name", "east-1") == ConnectOptions(name="east-1", on_overlap="translate")
    assert asked.by("--name", "east", "--on-overlap", "refuse") == ConnectOptions(name="east")


def test_what_becomes_of_ranges_that_overlap(asked: Asked) -> None:
    assert asked.by("--on-overlap", "translate") == ConnectOptions(on_overlap="translate")
    own = (ip_network("240.8.0.0/13"), ip_network("fd01::/48"))
    assert asked.by("--translate-to", str(own[0]), "--translate-to", str(own[1])) == ConnectOptions(
        on_overlap="translate", translate_to=own
    )


def test_options_come_from_the_environment_too(asked: Asked) -> None:
    options = asked.by(
        env={"KTPY_NO_DNS": "1", "KTPY_NO_RECONNECT": "1", "KTPY_EXCLUDE": "10.2.0.0/16", "KTPY_POD_TIMEOUT": "90"}
    )
    assert (options.dns, options.exclude, options.pod_timeout_s) == (False, (ip_network("10.2.0.0/16"),), 90)
    assert not options.reconnect


@pytest.mark.parametrize(
    ("text", "via"),
    [
        ("auto", None),
        ("api", None),
        ("node", Via()),
        ("ssh.example.com:22", Via("ssh.example.com", 22)),
        ("[fd00::7]:22", Via("fd00::7", 22)),
    ],
)
def test_where_connections_go_past_the_api_server(asked: Asked, text: str, via: Via | None) -> None:
    assert asked.by("--via", text).via == via
    assert asked.by(env={"KTPY_VIA": text}).via == via


def test_what_is_not_asked_for_by_name_has_to_be_allowed_and_keeping_goes_before_it(asked: Asked) -> None:
    allowed = {"KTPY_ALLOW_DIRECT": "1"}
    assert asked.by(env=allowed).via == asked.by("--via", "auto", "--allow-direct").via == Via(is_auto=True)
    assert asked.by("--via", "api", env=allowed).via is None
    assert asked.by("--keep", "10m", env=allowed).via is None


@pytest.mark.parametrize(
    ("arguments", "keep_s"),
    [
        (["--keep", "90"], 90.0),
        (["--keep", "1.5s"], 1.5),
        (["--keep", "20m"], 1200.0),
        (["--keep", "24h"], 86400.0),
        ([], 0.0),
        (["--keep", "10m", "--no-keep"], 0.0),
        (["--keep", "10m", "--no-reconnect"], 0.0),
    ],
)
def test_how_long_connections_are_kept(asked: Asked, arguments: list[str], keep_s: float) -> None:
    assert asked.by(*arguments).keep_s == keep_s


@pytest.mark.parametrize(
    ("duration", "reason"),
    [
        ("soon", "'soon' is no duration (wanted: such as 90s, 10m or 2h)"),
        ("-5m", "is no duration"),
        ("1d", "is no duration"),
        ("0", "0 is not between 1s and 24h"),
        ("25h", "25h is not between 1s and 24h"),
    ],
)
def test_a_duration_that_is_none(duration: str, reason: str) -> None:
    refused = CliRunner().invoke(connect, ["--keep", duration])
    assert refused.exit_code == 2
    assert reason in " ".join(refused.output.split())


@pytest.mark.parametrize(("arguments", "stop", "log"), [([], "Ctrl-C", None), (["-d"], "`ktpy quit`", "connect")])
def test_what_ends_it_is_told_once_it_stands(asked: Asked, arguments: list[str], stop: str, log: str | None) -> None:
    lines = CliRunner().invoke(connect, arguments).output.splitlines()
    assert lines[0] == "connected to lab (https://a), namespace shop"
    assert lines[-2:] == [f"{stop} ends it and undoes everything.", "Disconnected."]
    assert asked.log_name == log


def test_ctrl_c_at_the_prompt_of_sudo(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch_helper(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(privileged, "launch_helper", launch_helper)
    done = CliRunner().invoke(connect, ["-n", "shop"])
    assert (done.exit_code, done.output) == (130, "Interrupted; nothing was changed.\n")


def test_nobody_is_asked_for_a_password_who_is_connected_already(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch_helper(*_: object) -> None:
        raise AssertionError("sudo would ask")

    monkeypatch.setattr(privileged, "may_ask_for_password", lambda: True)
    monkeypatch.setattr(privileged, "launch_helper", launch_helper)
    monkeypatch.setattr(running, "needless", lambda options, caller: (caller.name, options.namespace))
    monkeypatch.setattr(running, "already", lambda found: f"Already, {found[0]}, {found[1]}.")
    done = CliRunner().invoke(connect, ["-n", "shop"])
    assert (done.exit_code, done.output) == (0, "Already, al, shop.\n")
    assert asked.options is None


@pytest.mark.parametrize("zone", ["*.corp.example", "my corp", "", ".", "a..b", "x" * 64, "-corp"])
def test_a_dns_zone_that_is_no_domain(zone: str) -> None:
    refused = CliRunner().invoke(connect, ["--dns-zone", zone])
    assert refused.exit_code == 2
    assert "Invalid value for '--dns-zone': " in refused.output
    assert "is not a domain name (wanted: a zone such as corp.example" in " ".join(refused.output.split())


def test_dns_zones(asked: Asked) -> None:
    assert asked.by("--dns-zone", "corp.", "--dns-zone", "~lab.example").dns_zones == ("corp.", "~lab.example")


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n", " ,,"])
def test_repeatable_options_take_commas_and_blanks_from_the_environment(asked: Asked, separator: str) -> None:
    ranges = [ip_network("10.2.0.0/16"), ip_network("10.3.0.0/16")]
    text = separator.join(map(str, ranges))
    options = asked.by(
        env={"KTPY_INCLUDE": text, "KTPY_EXCLUDE": text, "KTPY_DNS_ZONE": separator.join(["corp", "lab"])}
    )
    assert (list(options.include), list(options.exclude)) == (ranges, ranges)
    assert options.dns_zones == ("corp", "lab")


def test_json(asked: Asked) -> None:
    events = [json.loads(line) for line in CliRunner().invoke(connect, ["-o", "json"]).output.splitlines()]
    assert [(event["schema"], event["kind"]) for event in events] == [(1, "ready"), (1, "ended")]


def test_nobody_is_asked_for_a_password_without_a_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(Caller, "current", lambda: CALLER)
    monkeypatch.setattr(privileged, "launch_helper", lambda *_: pytest.fail("the helper was launched"))
    done = CliRunner().invoke(cli, ["connect", "--kubeconfig", str(tmp_path / "absent")])
    assert (done.exit_code, "absent" in done.output) == (10, True)


class TestProxy:
    """--mode proxy: neither the helper nor sudo is asked for."""

    @pytest.fixture(autouse=True)
    def no_helper(self, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(privileged, "launch_helper", lambda *_: pytest.fail("the helper was launched"))
        monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)
        asked.launched = None
        asked.status = replace(CONNECTED, mode="proxy", proxy=PROXY)
        yield
        if asked.launched is not None:
            asked.launched.close()

    def test_it_begins_with_its_port(self, asked: Asked) -> None:
        assert asked.by("--mode", "proxy") == ConnectOptions(capture=CaptureSpec("proxy"))
        assert isinstance(asked.launched, socket.socket)
        assert asked.launched.getsockname()[0] == "127.0.0.1"

    def test_a_port_that_is_taken(self, asked: Asked) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            done = CliRunner().invoke(cli, ["connect", "--mode", "proxy", "--proxy-port", str(port)])
        assert done.exit_code == 38
        assert (
            f"cannot listen on port {port} of 127.0.0.1 (Address already in use); nothing was changed." in done.output
        )

    def test_what_a_shell_evaluates(self, asked: Asked) -> None:
        done = CliRunner().invoke(connect, ["--mode", "proxy", "-o", "env"])
        assert done.stdout == "export ALL_PROXY='socks5h://127.0.0.1:1080 x'\nexport HTTP_PROXY=http://127.0.0.1:1080\n"
        assert "connected to lab" in done.stderr

    def test_what_is_shown(self, asked: Asked) -> None:
        shown = CliRunner().invoke(connect, ["--mode", "proxy"]).stdout.splitlines()
        assert shown[1:3] == [
            "  proxy     socks5h://127.0.0.1:1080 x or http://127.0.0.1:1080",
            "  browsers  http://127.0.0.1:1080/proxy.pac",
        ]

    def test_standard_output_is_the_commands(self, asked: Asked) -> None:
        done = CliRunner().invoke(connect, ["--mode", "proxy", "--", "curl", "-s", "http://web/"])
        assert asked.options is not None
        assert asked.options.command == ("curl", "-s", "http://web/")
        assert done.stdout == ""
        assert "The end of the command ends it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proxy-port", "1080"], "are for --mode proxy"),
        (["--output", "env"], "are for --mode proxy"),
        (["--mode", "proxy", "--no-dns"], "without --no-dns"),
        (["--mode", "proxy", "--detach", "--", "true"], "do not go together"),
        (["--mode", "proxy", "true"], "If it is a command, say: connect ... -- true"),
        (["--mode", "proxy", "--proxy-port", "0"], "0 is no whole number from 1 to 65535."),
        (["--mode", "vpn"], "is not one of"),
        (["--keep", "10m", "--via", "node"], "do not go together"),
        (["--via", "pod"], "is not auto, api, node or HOST:PORT"),
        (["--on-overlap", "ask"], "is not one of"),
        *((["--name", name], "is no name for a cluster") for name in ("svc", "East", "a.b", "../x", "east-", "")),
        (["--on-overlap", "refuse", "--translate-to", "198.19.0.0/16"], "do not go together"),
        (["--translate-to", "224.0.0.0/8"], "holds addresses that are never routed"),
        (["--translate-to", "0.0.0.0/0"], "holds addresses that are never routed"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], words: str) -> None:
    refused = CliRunner().invoke(connect, arguments)
    assert refused.exit_code == 2
    assert words in " ".join(refused.output.split())
