import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ktpy_agent import flow_relay, session
from ktpy_agent.session import await_silence, hello
from ktpy_agent.settings import Settings

from ktpy import __version__
from tests.unit.agent.beats import Beats

Pipe = tuple[socket.socket, socket.socket]


@pytest.fixture
def beats() -> Iterator[Pipe]:
    yield from _pipe()


@pytest.fixture
def register() -> Iterator[Pipe]:
    """Stands for the connection to the supervisor: readable only when that is gone."""
    yield from _pipe()


def _pipe() -> Iterator[Pipe]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_hello_is_one_line_that_describes_the_pod(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5\n")
    line = hello(resolv_conf, Settings())
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "version": 1,
        "agent": __version__,
        "resolv_conf": {
            "nameservers": ["10.96.0.10"],
            "search": ["shop.svc.cluster.local", "svc.cluster.local"],
        },
        "datagrams": True,
        "flows": "/run/ktpy/flows.sock",
        "holds": True,
        "bulk_port": 0,
    }


def test_the_hello_names_the_port_that_takes_bulk(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)
    with flow_relay.listen_for_bulk(settings.bulk_port) as listener:
        assert json.loads(hello(tmp_path / "absent", settings))["bulk_port"] == listener.getsockname()[1]


def test_hello_without_a_resolv_conf(tmp_path: Path) -> None:
    assert json.loads(hello(tmp_path / "absent", Settings()))["resolv_conf"] == {"nameservers": [], "search": []}


def test_silence_ends_the_wait(beats: Pipe, register: Pipe) -> None:
    started_s = time.monotonic()
    await_silence(beats[0].fileno(), register[0].fileno(), silence_s=0.1)
    assert time.monotonic() - started_s >= 0.1


def test_the_end_of_the_stream_ends_the_wait_at_once(beats: Pipe, register: Pipe) -> None:
    beats[1].close()
    started_s = time.monotonic()
    await_silence(beats[0].fileno(), register[0].fileno(), silence_s=30.0)
    assert time.monotonic() - started_s < 5


def test_a_gone_supervisor_ends_the_wait_at_once(beats: Pipe, register: Pipe) -> None:
    register[1].close()
    started_s = time.monotonic()
    await_silence(beats[0].fileno(), register[0].fileno(), silence_s=30.0)
    assert time.monotonic() - started_s < 5


def test_every_beat_starts_the_silence_anew(beats: Pipe, register: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Beats(beats[1].fileno(), pause_s=20.0, left=4)
    monkeypatch.setattr(session, "time", laptop)
    monkeypatch.setattr(session, "select", laptop)
    await_silence(beats[0].fileno(), register[0].fileno(), silence_s=30.0)
    assert laptop.now_s == 4 * 20.0 + 30.0
