"""What else the machine did meanwhile: processor time that is neither the lab's nor the bench's."""

import os
import resource
from pathlib import Path

from tests.lab import Lab
from tests.lab.cgroup import ControlGroups

BUSY = (0, 1, 2, 5, 6, 7)
"""Fields of /proc/stat (proc(5)): user, nice, system, irq, softirq, and what the machine's own host has stolen."""


def seconds(lab: Lab) -> float:
    """Processor seconds of others since the machine began. Of what the bench has started, only what has ended is not
    in there."""
    return busy_s(Path("/proc/stat").read_text()) - _of_the_lab_s(lab) - _own_s()


def busy_s(stat: str) -> float:
    """The first line of /proc/stat in seconds: all processors together."""
    ticks = stat.splitlines()[0].split()[1:]
    return sum(int(ticks[field]) for field in BUSY) / os.sysconf("SC_CLK_TCK")


def _of_the_lab_s(lab: Lab) -> float:
    for root in ControlGroups.read(lab.layout.cgroups_file).roots:
        if (usage := root / "cpuacct.usage").exists():
            return int(usage.read_text()) / 1e9
        if (stat := root / "cpu.stat").exists() and (found := stat.read_text().split())[0] == "usage_usec":
            return int(found[1]) / 1e6  # its first line, in version 2 (cgroup-v2.rst)
    return 0.0


def _own_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
