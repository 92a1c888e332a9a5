"""SIGKILL to the main process, or to all of ktpy, while it is connected, while it starts, and in the background."""

import signal
from collections.abc import Callable

import pytest

from tests.e2e.connect_undo.undoing import (
    ASIDE_S,
    MOMENTS,
    OPTIONS,
    RECOVERED,
    RESOLV_CONF,
    Abandoned,
    every_resolver,
    outside_name_resolves_within_s,
    recover,
)
from tests.e2e.kit import processes
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import Connecting, ConnectSession, connecting


@every_resolver
def test_main_process_killed(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    """The helper puts everything back, with no one doing anything."""
    session = connect(*OPTIONS)
    processes.kill(lab, "main")
    abandoned.all_now()
    processes.wait_none(lab)
    assert laptop.network_state() == before
    assert session.wait_ended() in (-signal.SIGKILL, 128 + signal.SIGKILL)  # sudo's, as its command's


@every_resolver
def test_both_killed(
    resolver: str, before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    assert outside_name_resolves_within_s(laptop) < ASIDE_S
    vanished_by_itself = before if resolver == "systemd-resolved" else before.partition(RESOLV_CONF)[0]
    wait_until(lambda: laptop.network_state().startswith(vanished_by_itself), 60, "what dies with its processes to go")
    said = recover(laptop, "ktpy", "status")
    assert RECOVERED in said
    assert laptop.network_state() == before
    assert recover(laptop, "ktpy", "status") == ""


@pytest.mark.parametrize("command", [["ktpy", "quit"], ["sudo", "ktpy", "clean"]], ids=["quit", "clean"])
def test_every_command_restores(
    command: list[str], before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    done = laptop.run(command)
    assert RECOVERED in done.stdout + done.stderr
    assert "/etc/resolv.conf" in done.stdout + done.stderr
    assert laptop.network_state() == before


def test_the_next_connect_restores(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    connect(*OPTIONS)
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    session = connect(*OPTIONS)
    assert RECOVERED in session.output
    session.quit()
    assert laptop.network_state() == before


def test_what_somebody_else_has_changed_is_left_to_him(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned
) -> None:
    """A DHCP client, say, that wrote its file over ours: ktpy must not bring an old one back."""
    connect(*OPTIONS)
    processes.only(lab, "helper").send(signal.SIGSTOP)  # while it runs, it writes over such a file
    lab.exec(["sh", "-c", "echo nameserver 10.99.0.53 > /etc/resolv.conf"], check=True)
    try:
        processes.kill(lab, "main", "helper")
        abandoned.all_now()
        assert "/etc/resolv.conf is not what ktpy wrote any more" in recover(laptop, "ktpy", "status")
        assert laptop.output("cat", "/etc/resolv.conf") == "nameserver 10.99.0.53\n"
    finally:
        lab.set_resolver("file")


@pytest.mark.parametrize("roles", [["helper"], ["helper", "main"]], ids=["helper", "both"])
def test_who_needs_a_password_is_told_what_to_do(
    roles: list[str],
    before: str,
    lab: Lab,
    laptop: Laptop,
    eve: str,
    eves: tuple[str, ...],
    abandoned: Abandoned,
) -> None:
    """Nothing asks for a password unasked; until somebody cleans up, names resolve."""
    with connecting(lab, *eves, user=eve) as session:
        processes.kill(lab, *roles)
        if roles == ["helper"]:
            assert session.wait_ended() == 35
            assert "note      Still there: /etc/resolv.conf" in session.output
        abandoned.all_now()
        said = lab.exec(["ktpy", "status"], user=eve).stderr
        assert "An earlier ktpy was killed and left: /etc/resolv.conf" in said
        assert "`sudo ktpy clean`" in said
        assert outside_name_resolves_within_s(laptop) < ASIDE_S
        assert RECOVERED in lab.exec(["sudo", "ktpy", "clean"], user=eve, check=True).stdout
        assert laptop.network_state() == before


@pytest.mark.parametrize("roles", [["main"], ["helper", "main"]], ids=["main", "both"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_starts(
    moment: str,
    roles: list[str],
    before: str,
    lab: Lab,
    laptop: Laptop,
    starting: Callable[..., ConnectSession],
    abandoned: Abandoned,
) -> None:
    session = starting(*OPTIONS)
    session.wait_for(f"  {moment} ")
    processes.kill(lab, *roles)
    processes.wait_none(lab)
    abandoned.all_now()
    recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before


def test_detached_main_process_killed(
    before: str, detached: str, lab: Lab, laptop: Laptop, abandoned: Abandoned
) -> None:
    processes.kill(lab, "main")
    abandoned.all_now()
    processes.wait_none(lab)
    assert laptop.network_state() == before


def test_detached_both_killed(before: str, detached: str, lab: Lab, laptop: Laptop, abandoned: Abandoned) -> None:
    processes.kill(lab, "main", "helper")
    abandoned.all_now()
    assert RECOVERED in recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before
