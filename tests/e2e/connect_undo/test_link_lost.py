"""The cable is out, or the API server restarts, under a session that is not to reconnect."""

import time

from tests.e2e.connect_undo.undoing import LINK_LOST_WITHIN_S, OPTIONS, Abandoned
from tests.e2e.kit.faults import unplugged
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.sessions.connect import Connecting


def test_link_cut(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    session = connect(*OPTIONS, "--no-reconnect")
    with unplugged(lab):
        started_s = time.monotonic()
        assert session.wait_ended() == 40, session.output
        assert time.monotonic() - started_s < LINK_LOST_WITHIN_S
    assert "removes itself within two minutes" in session.output
    abandoned.all_now()
    assert laptop.network_state() == before


def test_api_server_restarts(before: str, lab: Lab, laptop: Laptop, connect: Connecting, abandoned: Abandoned) -> None:
    """All connections break at once, the tunnel's with them; ktpy itself deletes the Job, if it can."""
    session = connect(*OPTIONS, "--no-reconnect")
    lab.restart_api()
    assert session.wait_ended() == 40, session.output
    abandoned.all_now()
    assert laptop.network_state() == before
