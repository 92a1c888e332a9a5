"""What programs of a dev container have printed, as processes of the agent's real code write and show it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ktpy_agent import dev_log
from ktpy_agent.dev_log import ProgramLog

from tests.component.agent.pod import AGENT_IMAGE

Show = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Show]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-IS", str(AGENT_IMAGE / "ktpy-agent"), "logs", str(tmp_path), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def shown(process: "subprocess.Popen[bytes]") -> bytes:
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    return output


def test_nothing_was_printed(show: Show) -> None:
    assert shown(show()) == b""


def test_programs_are_told_from_each_other(show: Show, tmp_path: Path) -> None:
    ProgramLog(tmp_path, ("go", "test")).write(b"one\n")
    other = ProgramLog(tmp_path, ["go", "run"])
    other.write(b"two\n")
    other.end(3)
    assert shown(show()) == b"==> go test <==\none\n==> go run <==\ntwo\n==> go run ended with 3 <==\n"


def test_what_comes_is_shown_whatever_file_it_comes_to(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev_log, "FILE_BYTES", 100)
    log = ProgramLog(tmp_path, ["a"])
    following = show("-f")
    assert following.stdout is not None
    assert following.stdout.readline() == b"==> a <==\n"
    for batch in range(0, 30, 6):
        lines = [b"number %d\n" % number for number in range(batch, batch + 6)]
        log.write(b"".join(lines))
        assert [following.stdout.readline() for _ in lines] == lines
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=60) == (b"", b"")
    assert following.returncode == -signal.SIGINT
    kept = shown(show()).splitlines()
    assert kept == [b"number %d" % number for number in range(30 - len(kept), 30)]
    assert 12 <= len(kept) <= 24


def test_a_full_disk_costs_the_log_only(tmp_path: Path) -> None:
    (tmp_path / dev_log.FILE).symlink_to("/dev/full")
    ProgramLog(tmp_path, ["a"]).write(b"lost")
