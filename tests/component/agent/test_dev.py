"""A program that a laptop asked for, in a process of its own as sshd makes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ktpy_agent import dev

from tests.lab.processes import wait_until

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = ["agent-image", "."]
from ktpy.wire.dev import Exec
from ktpy_agent.dev import execute
words = ("sh", "-c", "trap 'exit 9' INT; echo $$ > up; while :; do sleep 0.05; done")
sys.exit(execute(Exec(words, folder=sys.argv[1], key="0af3"), Path(sys.argv[1]), Path("/proc/self/environ")))
"""


def test_it_is_interrupted_by_its_key(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], start_new_session=True) as process:
        try:
            wait_until((tmp_path / "up").exists, 60, "the program")
            assert dev.interrupt("another", tmp_path) == 1
            assert dev.interrupt("../up", tmp_path) == 1
            assert process.poll() is None
            assert dev.interrupt("0af3", tmp_path) == 0
            assert process.wait(60) == 9
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
