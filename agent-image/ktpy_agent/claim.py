"""What an SSH session runs that asks for `ktpy-agent claim PATH`: it serves a claim's folder, which is kept alike."""

import sys
from pathlib import Path
from typing import Final

from ktpy.wire.files import CLAIMS_DIR, is_inside
from ktpy_agent import sync
from ktpy_agent.mounts import mount_points

_SEEN_BY_INOTIFY: Final = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""File systems of this node alone. What another machine writes, as to NFS, no inotify(7) tells."""


def run(path: str) -> int:
    """Serve the claim that the workload's pod has at this path, until the channel ends. Returns the exit status."""
    if not path.startswith("/") or not is_inside(path[1:]):
        sys.stderr.write(f"ktpy-agent: {path!r} leads elsewhere\n")
        return 64  # EX_USAGE of sysexits.h
    folder = CLAIMS_DIR + path
    points = mount_points(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    return sync.serve(folder, sees_changes=points.get(folder) in _SEEN_BY_INOTIFY, leaves_mark=False)
