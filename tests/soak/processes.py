"""The processes of this machine at one moment: whose they are, and what each has, as the kernel counts it (proc(5))."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.memory import field_mb

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    words: tuple[str, ...]
    cgroup: str

    @property
    def program(self) -> str:
        """`haproxy`, `sshd`, `ktpy-agent gateway`: what it is among the processes of a pod."""
        for index, word in enumerate(self.words[:4]):
            if Path(word).name in ("ktpy-agent", "command.py"):
                return " ".join(["ktpy-agent", *self.words[index + 1 : index + 2]])
        return Path(self.words[0].split(":")[0].split(" ")[0]).name


def all_processes() -> list[Process]:
    """Those that have a command line: neither threads of the kernel nor zombies, nor what holds a pod's namespaces."""
    return list(_processes())


def _processes() -> Iterator[Process]:
    for directory in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it may end while we look
            words = (directory / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if words not in ([""], ["/pause"]):
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
                yield Process(int(directory.name), parent, tuple(words), (directory / "cgroup").read_text())


def with_descendants(pid: int, processes: Iterable[Process]) -> list[int]:
    """The pid, and those of its children and theirs."""
    children: dict[int, list[int]] = defaultdict(list)
    for process in processes:
        children[process.parent].append(process.pid)
    found = [pid]
    for one in found:
        found += children[one]
    return found


def figures(pids: Iterable[int]) -> dict[str, float]:
    """Of these together. One that has ended meanwhile has nothing."""
    total = dict.fromkeys(("rss_mb", "pss_mb", "anonymous_mb", "descriptors", "threads", "processes"), 0.0)
    for pid in pids:
        with suppress(OSError):
            for figure, value in _figures(PROC / str(pid)).items():
                total[figure] += value
    return total


def _figures(process: Path) -> dict[str, float]:
    status, rollup = (process / "status").read_text(), (process / "smaps_rollup").read_text()
    threads = next(line.split()[1] for line in status.splitlines() if line.startswith("Threads:"))
    return {
        "rss_mb": field_mb(rollup, "Rss"),
        "pss_mb": field_mb(rollup, "Pss"),
        "anonymous_mb": field_mb(rollup, "Anonymous"),
        "descriptors": float(sum(1 for _ in (process / "fd").iterdir())),
        "threads": float(threads),
        "processes": 1.0,
    }
