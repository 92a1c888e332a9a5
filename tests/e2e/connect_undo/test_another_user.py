"""Another user of the same laptop."""

import re

from tests.e2e.connect_undo.undoing import OPTIONS
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.sessions.connect import Connecting


def test_another_user_is_refused(
    before: str, lab: Lab, laptop: Laptop, connect: Connecting, eve: str, eves: tuple[str, ...]
) -> None:
    session = connect(*OPTIONS)
    during = laptop.network_state()
    refused = attempt(lab, *eves, user=eve)
    assert refused.exit_code == 30
    assert re.search(r"10\.96\.0\.0/16 on ktpy\d", refused.message)
    assert "Another `ktpy connect`" in refused.hint
    assert laptop.network_state() == during
    assert session.status()["state"] == "connected"
