"""How much memory one process has, as the kernel counts it (proc(5))."""

from pathlib import Path

BYTES_PER_KB = 1024  # the kernel's "kB"


def field_mb(text: str, name: str) -> float:
    """A line `Name:   123 kB` of /proc/PID/status or smaps_rollup, in MB (10^6 bytes); KeyError without it."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * BYTES_PER_KB / 1e6
    raise KeyError(name)


def peak_mb(pid: int) -> float:
    """The most that its `rss` has been since it began."""
    return field_mb((Path("/proc") / str(pid) / "status").read_text(), "VmHWM")


def of_process(pid: int) -> dict[str, float]:
    """`rss`: all its pages. `pss`: those it shares with others counted by their share."""
    process = Path(f"/proc/{pid}")
    return {
        "rss": field_mb((process / "status").read_text(), "VmRSS"),
        "pss": field_mb((process / "smaps_rollup").read_text(), "Pss"),
    }
