"""The journal's lock between processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ktpy.helper.journal import open_all_stale, stale


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def test_lock_goes_with_a_killed_process(directory: Path) -> None:
    script = (
        "import sys,time,pathlib; from ktpy.helper.journal import Journal;"
        f"j = Journal.create(7, pathlib.Path({str(directory)!r})); j.record('A', 'a', 1);"
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert stale(directory) == []
        assert open_all_stale(directory) == ([], [])
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a process that nobody has waited for is gone, too
        [found] = stale(directory)
        assert (found.head.owner_uid, found.head.helper_pid) == (7, process.pid)
        [taken], _ = open_all_stale(directory)
        assert [entry.summary for entry in taken.pending] == ["a"]


def test_import_is_light() -> None:
    script = (
        "import sys, ktpy.helper.journal, ktpy.helper.client;"
        "print(*[name for name in ('pyroute2', 'ktpy.helper.server') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
