"""A claim of a process that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ktpy.daemon.runtime import RuntimeDirectory

HOLD_A_CLAIM = """
import sys, time
from pathlib import Path
from ktpy.daemon.runtime import RuntimeDirectory
with RuntimeDirectory(Path(sys.argv[1])).claim("https://a"):
    print("claimed", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDirectory:
    return RuntimeDirectory(tmp_path / "ktpy")


def test_a_claim_dies_with_its_holder(runtime: RuntimeDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_CLAIM, os.fspath(runtime.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"claimed\n"
        holder.send_signal(signal.SIGKILL)
    with runtime.claim("https://a"):
        pass
