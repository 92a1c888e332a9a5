"""Which process that is, and whether it still runs, by proc_pid_stat(5). Needs no root."""

import os
import pwd
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

END_GRACE_S = 2.0
"""How long processes may take to end after SIGTERM, before SIGKILL."""
_PF_EXITING = 0x4
"""In the flags of a process that ends, or has ended and was not waited for yet (include/linux/sched.h)."""


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None where it is gone, ends, or is hidden from us."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # from field 3 on
    except OSError:
        return None
    return None if int(fields[9 - 3]) & _PF_EXITING else int(fields[22 - 3])


def is_running(pid: int, started_ticks: int) -> bool:
    """Tell whether the process of this number runs, and is the one that started then."""
    now_ticks = start_ticks(pid)
    if now_ticks is not None or Path(f"/proc/{pid}").exists():
        return now_ticks == started_ticks
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # hidden from us (hidepid=, proc(5)), so there is one
    return True


def end_all_in_network(inode: int) -> None:
    """End all processes but this one whose network namespace has this inode, those that are started meanwhile too.

    What the kernel cannot kill (a disk that hangs) is not waited for.
    """
    began_s = time.monotonic()
    asked = set[int]()
    while (pids := list(_in_network(inode))) and (passed_s := time.monotonic() - began_s) < 2 * END_GRACE_S:
        is_late = passed_s >= END_GRACE_S
        for pid in pids:
            if is_late or pid not in asked:
                asked.add(pid)
                with suppress(OSError):
                    for number in (signal.SIGKILL,) if is_late else (signal.SIGTERM, signal.SIGCONT):
                        os.kill(pid, number)
        time.sleep(0.01)


def _in_network(inode: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):  # it is somebody else's, or gone
                if (folder / "ns/net").stat().st_ino == inode:
                    yield int(folder.name)


def describe(pid: int) -> str:
    """Return a process in words."""
    try:
        name, uid = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip(), Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name}) of user {user_name(uid)}"


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
