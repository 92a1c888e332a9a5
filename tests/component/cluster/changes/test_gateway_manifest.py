"""What the second container of a gateway's pod runs, by a real shell."""

import signal
import subprocess
from pathlib import Path

import pytest

from ktpy.cluster.changes.gateway_manifest import HOLD
from tests.kit.waiting import eventually


@pytest.mark.parametrize("agent", ["exec sleep 60", "exit 64"], ids=["an agent that holds", "an older one"])
def test_it_stays_until_it_is_told_to_end(agent: str, tmp_path: Path) -> None:
    program = tmp_path / "ktpy-agent"
    program.write_text(f"#!/bin/sh\n{agent}\n")
    program.chmod(0o755)
    with subprocess.Popen(["/bin/sh", "-c", HOLD], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}) as shell:

        def waits() -> bool:
            children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
            try:
                return [Path(f"/proc/{child}/comm").read_text() for child in children] == ["sleep\n"]
            except OSError:  # it has ended meanwhile
                return False

        try:
            assert eventually(waits)
            assert shell.poll() is None
            shell.send_signal(signal.SIGTERM)
            shell.wait(60)
        finally:
            shell.kill()
