"""How much memory the pod has left, by its control group."""

from pathlib import Path


def left_bytes(root: Path) -> int | None:
    """Return what may still be taken before the kernel kills; None without a limit. Cached files count as free.

    The files are those of cgroup v2, or of v1 (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
    """
    v1 = root / "memory"
    for limit, usage, statistics, cached in (
        (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat", "total_inactive_file"),
    ):
        try:
            most = int(limit.read_text(encoding="ascii"))
            used = int(usage.read_text(encoding="ascii"))
            counted = dict(line.split() for line in statistics.read_text(encoding="ascii").splitlines())
            return most - used + int(counted[cached])
        except (OSError, ValueError, KeyError):  # another version's; "max" is no number
            continue
    return None
