"""The journal's lock between processes."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from ktpy.helper.journal import Journal, open_all_stale, stale


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def abandon(open_journal: Journal) -> None:
    """What a SIGKILL does: the lock goes, the file stays."""
    open_journal._file.close()


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
        process.kill()
        process.wait()
    [found] = stale(directory)
    assert (found.head.owner_uid, found.head.helper_pid) == (7, process.pid)


def test_a_look_does_not_keep_others_from_taking_over(directory: Path) -> None:
    """`stale` holds a shared lock for an instant; taking over waits for it."""
    abandon(Journal.create(0, directory))
    [path] = directory.glob("*.json")
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        releasing = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(0.1)"], pass_fds=[looking.fileno()]
        )
    with releasing:
        taken, _ = open_all_stale(directory)
    assert len(taken) == 1


def test_import_is_light() -> None:
    script = (
        "import sys, ktpy.helper.journal, ktpy.helper.client;"
        "print(*[name for name in ('pyroute2', 'ktpy.helper.server') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
