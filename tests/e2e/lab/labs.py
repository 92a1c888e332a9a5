"""Labs of these tests' own, beside the one that the other tests share; and what may be left of one: nothing."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import Lab
from tests.lab.lab import LAUNCHER
from tests.lab.namespaces import mount_points
from tests.lab.processes import ProcessRecord

NAME, OTHER_NAME = "test-lab", "test-lab-2"


def run_verb(name: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(LAUNCHER), "--name", name, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def bring_down(name: str) -> None:
    process = run_verb(name, "down")
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors


def leftovers(lab: Lab) -> list[str]:
    """Everything on this machine that belongs to a lab."""
    layout = lab.layout
    found = [str(path) for path in (layout.state_dir, layout.lock_file) if path.exists()]
    found += [str(path) for path in (layout.node_netns_path, *layout.laptop_netns_paths) if path.exists()]
    found += [target for target in mount_points() if target.startswith(f"{layout.state_dir}/")]
    # Other labs' groups may vanish meanwhile: os.walk(), unlike rglob(), goes on.
    found += [path for path, _, _ in os.walk("/sys/fs/cgroup") if Path(path).name == layout.cgroup_name]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ProcessRecord.of(int(process.name))  # a zombie is gone but for its parent's attention
            if f"/{layout.cgroup_name}/" in (process / "cgroup").read_text():
                found.append(f"{process.name}: {(process / 'cmdline').read_text()}")
    return found


def seconds_to_answer(lab: Lab) -> float:
    """The quickest of five answers: others work on this machine, too."""

    def took_s() -> float:
        started_s = time.monotonic()
        assert lab.api.is_ready()
        return time.monotonic() - started_s

    return min(took_s() for _ in range(5))
