"""What a killed session leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ktpy.daemon.records import Record, Records

RECORD = Record("ab12", "exchange", "web", "shop", "https://a", "lab", None)
HOLD = """
import sys
from pathlib import Path
from ktpy.daemon.records import Record, Records
with Records(Path(sys.argv[1])).hold(Record("ab12", "exchange", "web", "shop", "https://a", "lab", None)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_session_is_stale_and_is_undone_by_one_at_a_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, os.fspath(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    records = Records(tmp_path)
    with records.stale() as stale, Records(tmp_path).stale() as others:
        assert stale == [RECORD]
        assert others == []
