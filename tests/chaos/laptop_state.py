"""What is on a laptop: compared with an earlier look, it tells what a command has left there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ktpy.helper.launch import PRIVATE
from tests.lab import Lab, laptop
from tests.lab.processes import ProcessRecord

MARK = "CHAOS_LANE"
"""A variable in the environment of all that a lane starts: it tells those that have left the laptop's namespaces."""
BALLAST = ".ballast"
STAYING = (f"! -name {BALLAST}", "! -path '*/.cache/*'", "! -name '*.log'", "! -path '*/connect.*.lock'")
"""What is not looked for: logs stay for `ktpy logs`, and caches; and the empty file whose lock a connection holds."""
FOLDERS = "/home/dev /run/user /var/lib/ktpy/locks"
LOOK = f"""
echo '=== TUN'; ip -details link | grep -v -e RX -e TX; ip address | grep -v valid_lft
echo '=== routes'; for family in -4 -6; do
  ip $family route show table all | sed 's/ expires [0-9]*sec//'; ip $family rule
done
echo '=== resolver'; stat --format='%N %f %u:%g %s %Y' /etc/resolv.conf; cat /etc/resolv.conf; cat /etc/hosts
echo '=== mounts'; grep -v -e ' /home/dev' -e ' /var/lib/ktpy' -e ' /run/netns/' /proc/self/mountinfo | cut -d ' ' -f 5
echo '=== journal'; find /var/lib/ktpy/journal -type f
echo '=== files'; find {FOLDERS} ! -type d {" ".join(STAYING)}
true
"""


@dataclass(frozen=True, slots=True)
class Look:
    """The lines of each section."""

    sections: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, text: str) -> "Look":
        sections: dict[str, set[str]] = {}
        name = ""
        for line in text.splitlines():
            if heading := re.fullmatch(r"=== (.*)", line):
                name = heading[1]
                sections[name] = set()
            else:
                sections[name].add(line)
        return cls({name: frozenset(lines) for name, lines in sections.items()})

    def differences(self, now: "Look") -> tuple[str, ...]:
        """Return which sections are not what they were; of files their names."""
        told = []
        for name, lines in self.sections.items():
            new, gone = now.sections[name] - lines, lines - now.sections[name]
            if name == "files":
                told += [named(path) for path in sorted(new)]
                told += [f"{named(path)} is gone" for path in sorted(gone)]
            elif new or gone:
                told.append(name)
        return tuple(dict.fromkeys(told))


NAMES = {
    r"/home/\w+/\.local/state/ktpy/intercepts/\w+\.json": "record",
    r"/run/user/\d+/ktpy/\w+\.\w+\.sock": "control socket",
    r"/run/user/\d+/ktpy/shortcuts/\w+": "shortcut",
}
"""What ktpy calls its files."""


def named(path: str) -> str:
    """What a file is."""
    return next((name for pattern, name in NAMES.items() if re.fullmatch(pattern, path)), f"file {path}")


def look(lab: Lab) -> Look:
    """Look at the laptop's network, and for files of its users."""
    return Look.parse(lab.exec(["sh", "-c", LOOK], check=True).stdout)


@dataclass(frozen=True, slots=True)
class Running:
    """A process of the laptop."""

    record: ProcessRecord
    argv: tuple[str, ...]
    state: str
    """As proc(5) has it: T is stopped."""

    @property
    def is_helper(self) -> bool:
        return "ktpy.helper" in self.argv and Path(self.argv[0]).name != "sudo"

    def is_main(self, verb: str) -> bool:
        """Whether it is `ktpy VERB`, by itself or instrumented."""
        names = {Path(word).name for word in self.argv[:3]}
        return verb in self.argv and bool(names & {"ktpy", "tests.e2e.kit.signal_at_step", "tests.chaos.walking"})


def processes(lab: Lab, lane: str) -> list[Running]:
    """Return all that run on the laptop, but for what holds it open; also those in namespaces of their own."""
    holder = ProcessRecord.read(laptop.record_file(lab.layout))
    assert holder is not None
    uts = Path(f"/proc/{holder.pid}/ns/uts").stat().st_ino
    mark = f"{MARK}={lane}".encode()
    group = f"/ktpy-lab-{lab.layout.name}/".encode()
    return [
        found
        for found in _all(uts, mark, group if lane == "run" else None)
        if found.record != holder and "upstream_resolver" not in str(found.argv)
    ]


def _all(uts: int, mark: bytes, group: bytes | None) -> Iterator[Running]:
    """`group`: also helpers of `ktpy run` in that control group, which have namespaces of their own and no mark."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end while we look
            is_here = (process / "ns/uts").stat().st_ino == uts
            argv = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            is_private = group is not None and PRIVATE in argv and group in (process / "cgroup").read_bytes()
            if is_here or is_private or mark in (process / "environ").read_bytes().split(b"\0"):
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                yield Running(ProcessRecord.of(int(process.name)), tuple(argv), state)
