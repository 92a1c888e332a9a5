"""SIGKILL to the privileged helper: ktpy itself still cleans up in the cluster."""

from collections.abc import Callable

from tests.e2e.connect_undo.undoing import OPTIONS, every_resolver, exists, job_of, recover
from tests.e2e.kit import processes
from tests.e2e.kit.faults import silent_server
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import Connecting, ConnectSession


@every_resolver
def test_helper_killed(before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    """Another helper undoes what it did, for user dev's sudo wants no password."""
    session = connect(*OPTIONS)
    job = job_of(session)
    processes.kill(lab, "helper")
    assert session.wait_ended() == 35, session.output
    assert "helper died" in session.output
    assert "In place of the dead helper: undone: " in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


def test_helper_killed_while_it_starts(
    before: str, lab: Lab, laptop: Laptop, starting: Callable[..., ConnectSession]
) -> None:
    session = starting(*OPTIONS)
    session.wait_for("  pod ")
    processes.kill(lab, "helper")
    assert session.wait_ended() == 35, session.output
    assert "helper" in session.output
    recover(laptop, "ktpy", "status")
    assert laptop.network_state() == before


def test_helper_killed_while_the_pod_starts(
    before: str, lab: Lab, laptop: Laptop, starting: Callable[..., ConnectSession]
) -> None:
    with silent_server(lab.layout.node_netns_path) as registry:
        session = starting(*OPTIONS, "--image", f"{NODE_IPV4}:{registry}/none:1")
        wait_until(lambda: laptop.network_state() != before, 30, "the laptop's TUN")
        session.wait_for("Pulling image")
        processes.kill(lab, "helper")
        assert session.wait_ended() == 35, session.output
    assert "helper died" in session.output
    assert laptop.network_state() == before
