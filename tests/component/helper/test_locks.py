"""What another user of the machine can see of the journals, and what he can hold up: nothing."""

import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktpy.helper import journal, locks
from ktpy.helper.journal import Journal, exclusive, open_all_stale, undo_all
from tests.kit.journals import abandon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

WAIT_S = 60.0
NOBODY = pwd.getpwnam("nobody").pw_uid

BECOME = f"""
import os, sys
from pathlib import Path
from ktpy.helper import journal
folder = Path(sys.argv[1])
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""

HOLD = """
import fcntl
held, refused = [], []
for path in [folder, folder / "journal", folder / "locks", *(folder / "journal").iterdir(), *map(Path, sys.argv[2:])]:
    try:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        refused.append(path.name)
print(*refused, flush=True)
sys.stdin.read()
"""

LOOK = """
for found in journal.stale(folder / "journal"):
    print(found.head.owner_uid, found.head.journal_id, *found.left)
for path in sorted((folder / "journal").glob("*.json")):
    print(path.read_text().splitlines()[0])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach, as /var/lib/ktpy is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody(script: str, *arguments: Path) -> Iterator[list[str]]:
    """Run a script as another user; yield the words of its first line. It ends with the block."""
    command = [sys.executable, "-c", BECOME + script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()
        process.communicate()
        assert process.returncode == 0


def test_another_user_holds_up_neither_a_connect_nor_a_clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_WAIT_S", WAIT_S)
    monkeypatch.setattr(locks, "EXCLUSIVE_WAIT_S", WAIT_S)
    directory = folder / "journal"
    left = Journal.create(1000, directory)
    left.record("A", "a", None)
    abandon(left)
    lock = folder / "locks" / left.journal_id
    with as_nobody(HOLD, folder, lock) as refused:
        assert refused == ["locks", lock.name]
        began_s = time.monotonic()
        [taken], complaints = open_all_stale(directory)
        assert undo_all(taken, lambda _: None) == (["a"], [], [])
        own = Journal.create(1001, directory)
        with exclusive(directory):
            own.record("B", "b", None)
        own.mark_undone(*own.pending)
        own.close()
        assert complaints == []
        assert time.monotonic() - began_s < WAIT_S  # nothing was waited for


def test_another_user_sees_who_is_connected_since_when_and_what_was_left(folder: Path) -> None:
    directory = folder / "journal"
    living, left = Journal.create(1000, directory), Journal.create(1001, directory)
    left.record("A", "TUN device ktpy0", None)
    abandon(left)
    done = subprocess.run(
        [sys.executable, "-c", BECOME + LOOK, str(folder)], check=True, capture_output=True, text=True
    ).stdout
    first, *heads = done.splitlines()
    assert first == f"1001 {left.journal_id} TUN device ktpy0"
    assert any(f'"owner_uid": 1000, "helper_pid": {os.getpid()}' in head for head in heads)
    living.close()
