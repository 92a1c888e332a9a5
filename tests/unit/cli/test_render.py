"""What the user reads on the terminal."""

import io
import unicodedata
from dataclasses import replace

import click
import pytest

from ktpy.cli import render
from ktpy.observe.events import Ended, LinkBack, LinkDown, Notice, Ready, StartStep
from ktpy.observe.status import (
    ConnectStatus,
    DnsStatus,
    LinkStatus,
    PortStatus,
    RangeStatus,
    SyncProblem,
    SyncStatus,
    TrafficBytes,
)
from tests.kit.intercepts import DEVELOPING, EXCHANGE

CONNECTED = ConnectStatus(
    pid=7,
    dns=DnsStatus("cluster.local", "10.199.0.1", "systemd-resolved", ("shop.svc.cluster.local", "svc.cluster.local")),
    ranges=(RangeStatus("10.96.0.0/12", "services", "ServiceCIDR"),),
    pod="ktpy-connect-x",
    server="https://a",
    context="lab",
    namespace="shop",
    state="connected",
    uptime_s=61.4,
    bytes=TrafficBytes(1500, 12),
    open_flows=2,
)


def lines(session: ConnectStatus) -> list[str]:
    return click.unstyle(render.status(session)).splitlines()


def test_a_connected_session() -> None:
    assert lines(CONNECTED) == [
        "connected to lab (https://a), namespace shop",
        "  pod       ktpy-connect-x",
        "  ranges    10.96.0.0/12 (services, from ServiceCIDR)",
        "  dns       names of cluster.local by systemd-resolved",
        "            search shop.svc.cluster.local svc.cluster.local",
        "  traffic   1.5 kB in, 12 B out, 2 open flows",
        "  up        61 s, process 7",
    ]


def test_a_connection_with_a_name() -> None:
    dns = replace(CONNECTED.dns, cluster_domain="east", search=()) if CONNECTED.dns else None
    told = lines(replace(CONNECTED, name="east", dns=dns))
    assert told[0] == "connected to lab (https://a), namespace shop, as east"
    assert told[3:5] == [
        "  dns       names of east by systemd-resolved",
        "  traffic   1.5 kB in, 12 B out, 2 open flows",
    ]


def test_a_range_that_is_reached_by_others() -> None:
    told = lines(replace(CONNECTED, ranges=(RangeStatus("10.96.0.0/12", "services", "ServiceCIDR", "240.0.0.0/12"),)))
    assert "  ranges    10.96.0.0/12 as 240.0.0.0/12 (services, from ServiceCIDR)" in told


def test_what_became_of_connections_when_the_link_was_lost() -> None:
    counters = {"kept": {"kept": 12, "lost": 1, "outran": 3}}
    told = lines(replace(CONNECTED, link=LinkStatus(True, 5, 2, "It is gone."), counters=counters))
    assert "  kept      12 connections lived through it, 1 were reset" in told
    assert not [line for line in lines(replace(CONNECTED, counters=counters)) if line.startswith("  kept")]


def test_datagrams() -> None:
    counted = {"sent": 4, "received": 3, "lost": 1, "lost_in_pod": 2}
    told = lines(replace(CONNECTED, datagram_flows=2, counters={"datagrams": counted}))
    assert told[6] == "  udp       3 in, 4 out, 3 lost, 2 open flows"


def test_connections_past_the_cluster_are_counted_on_both_sides() -> None:
    told = lines(replace(CONNECTED, counters={"local_shortcuts": {"connections": 1}}))
    assert told[6] == "  shortcuts 1 connection went to your own intercepts, past the cluster"
    port = PortStatus(80, 3001, is_local_up=True, is_up=True, requests=0, fallbacks=0, local_state="up", shortcuts=2)
    assert click.unstyle(render.port(port)).endswith("(up): 0 requests here, 2 connections past the cluster")


def test_without_names_and_ranges() -> None:
    told = lines(replace(CONNECTED, dns=None, ranges=()))
    assert told[2:4] == ["  ranges    none", "  dns       off"]


def test_what_is_wrong_with_routes_is_shown_by_the_status() -> None:
    assert "  note      A VPN took it." in render.status(replace(CONNECTED, notes=("A VPN took it.",))).splitlines()


def test_what_was_asked_for_besides_is_shown_by_the_status() -> None:
    told = lines(replace(CONNECTED, excluded=("10.1.0.0/16", "10.2.0.0/16"), dns_zones=("corp.example",)))
    assert told[3:5] == [
        "  excluded  10.1.0.0/16, 10.2.0.0/16",
        "  dns       names of cluster.local, corp.example by systemd-resolved",
    ]


@pytest.mark.parametrize(
    ("when_local_down", "match", "told"),
    [
        ("origin", None, ""),
        ("origin", "VERSION: a", ", only requests with VERSION: a"),
        ("fail", None, ", all requests, which fail while the local port is down"),
        ("wait", "VERSION: a", ", only requests with VERSION: a, which wait for the local port"),
    ],
)
def test_which_requests_come_here(when_local_down: str, match: str | None, told: str) -> None:
    session = replace(EXCHANGE, when_local_down=when_local_down, match_words=match)
    assert click.unstyle(render.status(session)) == f"exchange of web in namespace shop of lab{told}"


def test_the_hosts_of_a_preview() -> None:
    session = replace(EXCHANGE, kind="preview", hosts=("a.org", "b.org"))
    assert (
        click.unstyle(render.status(session)) == "preview of web in namespace shop of lab, from outside as a.org, b.org"
    )


@pytest.mark.parametrize(
    ("left_s", "told"), [(61.4, "  ends      by itself in 61 s"), (5400.0, "  ends      by itself in 90 minutes")]
)
def test_when_a_session_ends_by_itself(left_s: float, told: str) -> None:
    assert lines(replace(CONNECTED, ends_in_s=left_s))[-1] == told
    assert click.unstyle(render.status(replace(EXCHANGE, ends_in_s=left_s))).splitlines()[-1] == told
    assert told in render.ready(replace(EXCHANGE, ends_in_s=left_s), "Ctrl-C ends it.")


def test_of_many_ranges_the_first_are_shown() -> None:
    told = lines(replace(CONNECTED, ranges=CONNECTED.ranges * 10))
    assert told[10] == "            and 2 more (see --output json)"


def test_events_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    render.event(StartStep("pod", "started", 0.5))
    render.event(Notice("Something."), err=True)
    render.event(Ended(0, "Over."))
    render.event(Ended(24, "No pod.", "Wait.\nThen ask.", is_error=True))
    out, err = capsys.readouterr()
    assert out == "  pod       started (0.50 s)\nOver.\n"
    assert err == "  note      Something.\nerror: No pod.\nhint: Wait.\n      Then ask.\n"


def test_a_link_that_goes_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    render.event(LinkDown("The link to the pod went silent."))
    render.event(LinkBack("ktpy-connect-x", 12.25, 1))
    render.event(LinkBack("ktpy-connect-y", 2, 3))
    assert capsys.readouterr().out.splitlines() == [
        "  lost      The link to the pod went silent. ktpy reconnects.",
        "  back      after 12.2 s, by ktpy-connect-x",
        "  back      after 2.0 s, by ktpy-connect-y, lost 3 times so far",
    ]


def test_the_status_tells_of_a_link_that_was_lost() -> None:
    lost = replace(CONNECTED, state="reconnecting", link=LinkStatus(False, 12.4, 1, "No route to host."))
    assert lines(lost)[0] == "reconnecting to lab (https://a), namespace shop"
    assert lines(lost)[2] == "  link      lost for 12 s, once so far; ktpy reconnects: No route to host."
    back = replace(CONNECTED, link=LinkStatus(True, 7, 2, "No route to host."))
    assert lines(back)[2] == "  link      up again for 7 s, lost 2 times: No route to host."


def test_a_ready_screen_is_short_and_ends_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    render.event(Ready(replace(CONNECTED, try_command="curl http://web/")), farewell="Ctrl-C ends it.")
    assert capsys.readouterr().out.splitlines() == [
        "connected to lab (https://a), namespace shop",
        "  try       curl http://web/",
        "Ctrl-C ends it.",
    ]


EVIL = "a\x1b[2Jb\nforged\x9b\u202e"


def test_no_control_character_from_outside_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = (
        StartStep(EVIL, EVIL, 0.5),
        Notice(EVIL),
        Ready(replace(CONNECTED, context=EVIL, try_command=EVIL)),
        Ended(0, EVIL),
        Ended(1, EVIL, f"{EVIL}\nnext {EVIL}", is_error=True),
    )
    for event in told:
        render.event(event, farewell=EVIL)
    render.write(render.status(replace(CONNECTED, namespace=EVIL, pod=EVIL)))
    render.say(EVIL)
    out, err = capsys.readouterr()
    assert not {char for char in out + err if unicodedata.category(char) in ("Cc", "Cf")} - {"\n"}
    assert not [line for line in (out + err).splitlines() if line.startswith("forged") and "hint" not in err]


def test_lines_are_joined() -> None:
    assert render.clean("a\tb\r\nc\u2028d") == "a b c d"


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = {}
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        terminal = Terminal()
        render.write(click.style("up", fg="green"), file=terminal)
        shown[value] = terminal.getvalue()
    assert shown == {"": "\x1b[32mup\x1b[0m\n", "1": "up\n"}


@pytest.mark.parametrize(
    ("requests", "passed", "told"),
    [
        (0, None, "0 requests here"),
        (0, 0, "0 requests here, none passed the gateway"),
        (0, 3, "0 requests here, 3 passed the gateway"),
        (1, 3, "1 request here"),
    ],
)
def test_a_port_to_which_nothing_comes(requests: int, passed: int | None, told: str) -> None:
    port = PortStatus(80, 3001, is_local_up=True, is_up=True, requests=requests, fallbacks=0, passed=passed)
    assert click.unstyle(render.port(port)).endswith(f"(up): {told}")


def test_how_a_folder_is_in_step() -> None:
    assert click.unstyle(render.status(DEVELOPING)).splitlines()[1:] == ["  up        0 s, process 7"]
    sync = SyncStatus("/src", "/home/dev", state="in step", entries=34, last_error="a: the disk is full")
    assert click.unstyle(render.status(replace(DEVELOPING, sync=sync))).splitlines() == [
        "dev of deployment/web in namespace shop of lab",
        "  sync      /src and /home/dev: in step",
        "            34 files, folders and links alike",
        "            done since: a: the disk is full",
        "  up        0 s, process 7",
    ]
    problems = tuple(SyncProblem(f"{n}", "it cannot be read") for n in range(10))
    sync = replace(sync, is_two_way=False, state="cut", to_container=3, to_laptop=1, conflicts=1, problems=problems)
    lines = click.unstyle(render.status(replace(DEVELOPING, sync=sync))).splitlines()[1:-1]
    assert lines[0] == "  sync      /src to /home/dev: the link is lost; it goes on when that is back"
    assert lines[1].endswith(
        "alike, 3 to go to the container, 1 to come to this laptop, 1 conflict copy (*.conflict-container-*)"
    )
    assert [line.strip() for line in lines[2:]][-2:] == ["7: it cannot be read", "and 2 more (see --output json)"]


def test_a_tap() -> None:
    port = PortStatus(80, 3001, is_local_up=True, is_up=True, requests=7, fallbacks=0, dropped=2, skipped=1)
    assert click.unstyle(render.port(port)).endswith("(up): 7 requests here, 2 dropped, 1 skipped")
    every = replace(EXCHANGE, kind="tap", copied_percent=100)
    for status, told in (
        (every, "copies of all requests"),
        (replace(every, copied_percent=5, match_words="a: b"), "copies of 5 % of the requests with a: b"),
    ):
        assert click.unstyle(render.status(status)).splitlines()[0] == f"tap of web in namespace shop of lab, {told}"
