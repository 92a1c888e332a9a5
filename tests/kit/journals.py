"""Journals whose helper has ended, without a process for each."""

from pathlib import Path

from ktpy.helper.journal import Journal


def abandon(open_journal: Journal) -> None:
    """Do what a SIGKILL does: the lock goes, the file stays, and its process is not there any more."""
    open_journal._file.close()
    open_journal._lock.release(for_good=False)
    end_helper(open_journal.path)


def end_helper(path: Path) -> None:
    """Make it the journal of another process, which is gone."""
    path.write_bytes(path.read_bytes().replace(b'"helper_ticks": ', b'"helper_ticks": 9', 1))
