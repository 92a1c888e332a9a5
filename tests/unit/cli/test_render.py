"""What the user reads on the terminal."""

from dataclasses import replace

import click
import pytest

from ktpy.cli import render
from ktpy.observe.events import Ended, Notice, StartStep
from ktpy.observe.status import ConnectStatus, DnsStatus, RangeStatus, TrafficBytes

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
        "connected to lab (https://a)",
        "  namespace shop",
        "  pod       ktpy-connect-x",
        "  ranges    10.96.0.0/12 (services, from ServiceCIDR)",
        "  dns       names of cluster.local by systemd-resolved",
        "            search shop.svc.cluster.local svc.cluster.local",
        "  traffic   1.5 kB in, 12 B out, 2 open flows",
        "  up        61 s, process 7",
    ]


def test_without_names_and_ranges() -> None:
    told = lines(replace(CONNECTED, dns=None, ranges=()))
    assert told[3:5] == ["  ranges    none", "  dns       off"]


def test_of_many_ranges_the_first_are_shown() -> None:
    told = lines(replace(CONNECTED, ranges=CONNECTED.ranges * 10))
    assert told[11] == "            and 2 more (see --output json)"


def test_events_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    render.event(StartStep("pod", "started", 0.5))
    render.event(Notice("Something."), err=True)
    render.event(Ended(0, "Over."))
    render.event(Ended(24, "No pod.", "Wait.\nThen ask.", is_error=True))
    out, err = capsys.readouterr()
    assert out == "  pod       started (0.50 s)\nOver.\n"
    assert err == "  note      Something.\nerror: No pod.\nhint: Wait.\n      Then ask.\n"
