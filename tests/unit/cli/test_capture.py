import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.pcap.lines import PacketLine
from ktpy.sessions import capture as session
from ktpy.sessions.capture import CaptureEnd, CaptureOptions

LINE = PacketLine(1.5, True, "laptop:4", "web.shop:80", "TCP", "S", 40)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[CaptureOptions]:
    """What was wanted; each time a packet is shown."""
    asked: list[CaptureOptions] = []

    def capture(options: CaptureOptions, _: Any, show: Any, *, with_fields: bool) -> CaptureEnd:
        asked.append(options)
        if show:
            show(LINE, "###[ IP ]###\n  version = 4" if with_fields else "")
        return CaptureEnd(1, len(asked) - 1)

    monkeypatch.setattr(session, "capture", capture)
    importlib.import_module("ktpy.cli.capture")
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["capture", *arguments])


def test_packets_are_lines(asked: list[CaptureOptions]) -> None:
    done = run("tcp", "port", "80")
    assert done.exit_code == 0
    assert asked == [CaptureOptions("tcp port 80")]
    assert done.stdout.endswith("laptop:4 > web.shop:80 TCP S, 40 bytes\n")
    assert done.stderr == "1 packets.\n"
    assert run().stderr == "1 packets, 1 dropped.\n"


def test_fields_follow_the_line(asked: list[CaptureOptions]) -> None:
    assert run("--fields").stdout.splitlines()[1:] == ["###[ IP ]###", "  version = 4"]


def test_json_has_an_object_for_each(asked: list[CaptureOptions]) -> None:
    assert json.loads(run("-o", "json").stdout) == {"schema": 1, **LINE._asdict()}


def test_files(asked: list[CaptureOptions]) -> None:
    assert run("-w", "a.pcapng", "-C", "10", "-W", "5", "-c", "9", "-s", "100", "--pid", "7").stdout == ""
    run("-w", "-")
    ring, pipe = asked
    assert ring == CaptureOptions("", 7, Path("a.pcapng"), 10_000_000, 5, 9, 100)
    assert pipe.file == Path("/dev/stdout")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-W", "5"], "--files goes with --file-size."),
        (["-C", "10"], "--file-size goes with --write FILE."),
        (["-C", "10", "-w", "-"], "--file-size goes with --write FILE."),
        (["-s", "10"], "10 is no whole number from 40 to 262144."),
        (["-c", "x"], "x is no whole number from 1."),
    ],
)
def test_wrong_usage(asked: list[CaptureOptions], arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert asked == []
