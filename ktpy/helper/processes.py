"""Which process that is, and whether it still runs, by proc_pid_stat(5). Needs no root."""

import os
import pwd
from pathlib import Path

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
