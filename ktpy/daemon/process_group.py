"""A process group that a session leads, and a record by which it is found where that session was killed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.helper.processes import start_ticks

GRACE_S: Final = 5.0
"""How long processes may take to end after SIGTERM, before SIGKILL, and after that."""
POLL_S: Final = 0.05
_SUFFIX: Final = ".process"


def record_of(control: Path) -> Path:
    """Return where the record of a session with this control socket is."""
    return control.with_suffix(_SUFFIX)


def record(control: Path, pid: int) -> None:
    """Write down that the process leads the group of this session."""
    record_of(control).write_text(f"{pid} {start_ticks(pid)}")


def end_recorded(control: Path) -> bool:
    """End the group of a session with all that is in it, and forget it; return whether there was any. It blocks."""
    path = record_of(control)
    try:
        pid, ticks = path.read_text().split()
        return _end(int(pid), ticks)
    except (OSError, ValueError):  # gone meanwhile, or never finished
        return False
    finally:
        path.unlink(missing_ok=True)


def end_orphans(runtime: RuntimeDirectory, kind: str) -> int:
    """End the groups of sessions of this kind that were killed; return how many there were."""
    served = runtime.control_sockets(kind)
    controls = [path.with_suffix(".sock") for path in sorted(runtime.path.glob(f"{kind}.*{_SUFFIX}"))]
    return sum(end_recorded(one) for one in controls if one not in served)


def _end(pid: int, ticks: str) -> bool:
    """End the group that a process of this start leads. A number is not given away while a group has it, so a group
    without its leader is still the same."""
    if str(start_ticks(pid)) not in (ticks, "None"):
        return False
    try:
        os.killpg(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        return False
    with suppress(ProcessLookupError, PermissionError):  # it is gone
        for number in (0, signal.SIGKILL):
            for _ in range(round(GRACE_S / POLL_S)):
                os.killpg(pid, number)
                time.sleep(POLL_S)
    return True
