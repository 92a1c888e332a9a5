"""A command that returns while its work goes on in a process of its own."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ktpy.daemon.background import detach
from ktpy.errors import FolderNotWritable

DETACH = '''
import os, sys
from pathlib import Path
from ktpy.daemon.background import detach
from ktpy.observe.events import Ended, Ready, StartStep
from ktpy.observe.status import ConnectStatus

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=1.0)
TRACED = """
import logging
from ktpy.observe.trace import traced
logging.basicConfig(level=logging.INFO)
with traced("stage", "open cluster"):
    pass
"""

def work(report):
    {work}

for event in detach(work, Path(sys.argv[1])):
    print(event, flush=True)
'''


def run(work: str, log: Path, *descriptors: int) -> list[str]:
    command = [sys.executable, "-c", DETACH.format(work=work), os.fspath(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, pass_fds=descriptors)
    return done.stdout.splitlines()


def test_the_command_returns_when_the_work_is_ready_and_the_work_goes_on(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    work = f"report(StartStep('a', 'b', 0.1)); report(Ready(STATUS)); open({str(fifo)!r}).read(); return 0"
    step, ready = run(work, tmp_path / "log")
    assert step == "StartStep(name='a', detail='b', elapsed_s=0.1)"
    assert ready.startswith("Ready(status=ConnectStatus(kind='connect', pid=7,")
    fifo.write_text("the work still reads this")


def test_a_failure_is_passed_on(tmp_path: Path) -> None:
    work = "report(Ended(24, 'no pod', 'wait')); return 24"
    assert run(work, tmp_path / "log") == ["Ended(exit_code=24, message='no pod', hint='wait', is_error=False)"]


def test_a_death_without_a_word_is_told_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    [told] = run("os.kill(os.getpid(), 9)", log)
    assert "ended without a word" in told
    assert str(log) in told


def test_what_the_work_writes_goes_to_a_private_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run("print('to stderr', file=sys.stderr); report(Ended(0, 'over')); return 0", log)
    assert "to stderr" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_steps_that_v_tells_are_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = "exec(TRACED); report(Ended(0, 'over')); return 0"
    run(work, log)
    assert [line.partition(" in ")[0] for line in log.read_text().splitlines()[:2]] == [
        "INFO:ktpy.observe.trace:stage open cluster: started",
        "INFO:ktpy.observe.trace:stage open cluster: complete",
    ]


def test_a_log_is_begun_anew_but_not_that_of_a_session_that_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run("report(Ended(0, 'first')); return 0", log)
    with log.open() as free:
        fcntl.flock(free, fcntl.LOCK_EX)  # once it has ended
    run("report(Ended(0, 'second')); return 0", log)
    assert ("first" in log.read_text(), "second" in log.read_text()) == (False, True)
    with log.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run("report(Ended(0, 'third')); return 0", log)
    assert ("second" in log.read_text(), "third" in log.read_text()) == (True, True)


def test_ctrl_c_before_the_session_handles_it(tmp_path: Path) -> None:
    told = run("os.kill(os.getpid(), 2); return 0", tmp_path / "log")
    assert told == ["Ended(exit_code=130, message='Interrupted; nothing was changed.', hint=None, is_error=False)"]


@pytest.mark.parametrize("step", ["report(Ready(STATUS))", "report(Ended(24, 'no pod'))"])
def test_a_full_disk_below_the_log_keeps_neither_the_work_nor_what_it_tells(tmp_path: Path, step: str) -> None:
    """A limit of the process stands for the disk: files take nothing more, pipes do."""
    done = tmp_path / "done"
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    told = run(f"{full}; {step}; os.mkdir({os.fspath(done)!r}); return 0", tmp_path / "log")
    assert [line.partition("(")[0] for line in told] == [step[7:].partition("(")[0]]
    assert (tmp_path / "log").read_text() == ""
    until_exists(done)


def test_what_the_shell_had_open_is_closed_when_the_work_is_ready(tmp_path: Path) -> None:
    """Such as the lock of `flock lock ktpy connect --detach`, which is held for as long as anybody has it open."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    work = f"report(Ready(STATUS)); open({os.fspath(fifo)!r}).read(); return 0"
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(work, tmp_path / "log", lock.fileno())
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fifo.write_text("the work still reads this")


def until_exists(path: Path) -> None:
    """Wait for what a process in the background does."""
    deadline = time.monotonic() + 60.0
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_where_there_can_be_no_log_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(FolderNotWritable, match=r"cannot write to .*/absent.* \(No such file or directory\)"):
        next(iter(detach(lambda _: 0, tmp_path / "absent/log")))
