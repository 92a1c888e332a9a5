"""Signals, `ktpy quit`, and terminals that are closed."""

import json
import os
import select
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.connect_undo.undoing import MOMENTS, OPTIONS, every_resolver, exists, job_of
from tests.e2e.kit import processes
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.sessions.connect import Connecting, ConnectSession


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@every_resolver
def test_signal(number: signal.Signals, before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    session = connect(*OPTIONS)
    job = job_of(session)
    processes.only(lab, "main").send(number)
    assert session.wait_ended() == 0, session.output
    assert "Disconnected; everything is undone." in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_while_it_starts(
    moment: str, before: str, lab: Lab, laptop: Laptop, starting: Callable[..., ConnectSession]
) -> None:
    session = starting(*OPTIONS)
    session.wait_for(f"  {moment} ")
    processes.only(lab, "main").send(signal.SIGINT)
    is_late = session.wait_ended() == 0
    assert ("\nconnected to " in session.output) if is_late else session.process.returncode == 128 + signal.SIGINT
    assert "everything is undone" in session.output or "nothing was changed" in session.output
    assert laptop.network_state() == before
    processes.wait_none(lab)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_detached_signal(number: signal.Signals, before: str, detached: str, lab: Lab, laptop: Laptop) -> None:
    processes.only(lab, "main").send(number)
    processes.wait_none(lab)
    assert laptop.network_state() == before
    assert not exists(lab, detached)


def test_detached_quit(before: str, detached: str, lab: Lab, laptop: Laptop) -> None:
    """When the command is back, all is undone."""
    assert "as before" in laptop.output("ktpy", "quit")
    assert laptop.network_state() == before
    assert not exists(lab, detached)
    processes.wait_none(lab)


@pytest.mark.parametrize("command", [["sudo", "ktpy"], ["ktpy"]], ids=["sudo", "no-sudo"])
@pytest.mark.parametrize("way", ["Ctrl-C", "closed"])
def test_terminal(command: list[str], way: str, before: str, lab: Lab, laptop: Laptop, namespace: None) -> None:
    controller, terminal = os.openpty()
    connect = ["setsid", "--ctty", "--wait", *command, "connect", *OPTIONS]
    process = lab.popen(connect, user="dev", stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    try:
        wait_for_on(controller, "undoes everything.")
        [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
        if way == "Ctrl-C":
            os.write(controller, b"\x03")
            wait_for_on(controller, "everything is undone")
            assert process.wait(60) == 0
    finally:
        os.close(controller)
    processes.wait_none(lab)
    process.wait(60)
    assert laptop.network_state() == before
    assert not exists(lab, str(session["pod"]).rpartition("-")[0])


def wait_for_on(controller: int, text: str, timeout_s: float = 120.0) -> None:
    """Wait until the terminal shows `text`."""
    shown, deadline_s = "", time.monotonic() + timeout_s
    while text not in shown:
        readable, _, _ = select.select([controller], [], [], deadline_s - time.monotonic())
        assert readable, f"no {text!r} within {timeout_s:g} s; the terminal shows:\n{shown}"
        shown += os.read(controller, 4096).decode(errors="replace")
