"""Debian packages that are unpacked, never installed: their scripts would change the machine, or start a daemon on it.

They are downloaded into the cache, copied to where the laptop sees them, and run from there.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab import cache, debian
from tests.lab.layout import Layout
from tests.lab.report import say


def on_laptop(layout: Layout, kind: str) -> Path:
    return layout.state_dir / kind


def fetch(layout: Layout, kind: str, wanted: Sequence[str]) -> None:
    """Put unpacked packages where the laptop sees them. Not for two at a time: hold the lab's lock."""
    target = on_laptop(layout, kind)
    if target.exists():
        return
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(in_cache(kind, wanted), partial, symlinks=True)
    partial.rename(target)


def in_cache(kind: str, wanted: Sequence[str]) -> Path:
    names = packages_to_unpack(_simulated_installation(wanted), wanted)

    def make(directory: Path) -> None:
        say(f"downloading {', '.join(names)} (unpacked into the cache, not installed)")
        debian.apt_get("download", *names, cwd=directory)
        for archive in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, directory], check=True)
            archive.unlink()

    return cache.artifact(kind, names, make)


def _simulated_installation(wanted: Sequence[str]) -> str:
    command = ["apt-get", "--simulate", "install", "--no-install-recommends", *wanted]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def packages_to_unpack(simulation: str, wanted: Sequence[str]) -> list[str]:
    """What apt-get would install: the packages and those of their libraries that the machine lacks or has older."""
    names = re.findall(r"^Inst (\S+)", simulation, re.MULTILINE)
    return sorted({*wanted, *(name for name in names if name.startswith("lib"))})


def write_launcher(script: Path, program: Path, root: Path) -> None:
    """Make a command of a program that is unpacked at `root`."""
    assignments = "".join(f"{name}={value} " for name, value in library_path(root).items())
    script.write_text(f'#!/bin/sh\n{assignments}exec {program} "$@"\n')
    script.chmod(0o755)


def library_path(root: Path) -> dict[str, str]:
    """The variable by which programs find the libraries that are unpacked there; none where there are none."""
    libraries = ":".join(sorted({str(path.parent) for path in root.rglob("*.so*")}))
    return {"LD_LIBRARY_PATH": libraries} if libraries else {}
