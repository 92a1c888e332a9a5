"""Docker's engine for real, on the laptop: its networks, its firewall's rules, its containers and its client.

Its Debian package must never be *installed* by the lab: the installation would start an engine on the machine, which
changes the machine's firewall. It is unpacked, and runs from the lab's state directory (`docker_init.py`).
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.lab import cgroup, docker_init, unpacked
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.layout import LAPTOP_USER, REPOSITORY
from tests.lab.locks import lab_lock
from tests.lab.processes import module_command

CLIENT_PACKAGE = "docker-cli"
"""Since Debian 13 the client is another package than the engine."""


def in_cache() -> Path:
    return unpacked.in_cache(docker_init.KIND, _packages())


def _packages() -> list[str]:
    known = subprocess.run(["apt-cache", "show", CLIENT_PACKAGE], capture_output=True, check=False).returncode == 0
    return ["docker.io", "tini", *([CLIENT_PACKAGE] if known else [])]


class Docker:
    """The engine, which user dev may use as well as root."""

    def __init__(self, lab: Lab, process: "subprocess.Popen[str]") -> None:
        self._lab = lab
        self._process = process

    def start(self, settings: Mapping[str, Any]) -> None:
        """Start it with this daemon.json, in the place of the one that runs. Images stay, containers end."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the pipes were asked for")
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(settings), file=self._process.stdin, flush=True)
        if self._process.stdout.readline().strip() != docker_init.READY:
            tail = docker_init.log_file(self._lab.layout).read_text(errors="replace").splitlines()[-15:]
            raise LabError("Docker's engine did not come up:\n" + "\n".join(tail))

    def run(self, *words: str, source: Path = Path("/dev/null")) -> str:
        """What `docker` prints for user dev, with this file as its input; LabError when it fails."""
        with source.open("rb") as stdin:
            command = self._lab.command(["docker", *words], user=LAPTOP_USER)
            done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"docker {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[Docker]:
    """The engine; it ends, and all of it goes, with the block, and with this process."""
    with lab_lock(lab.layout):
        unpacked.fetch(lab.layout, docker_init.KIND, _packages())
    with docker_init.log_file(lab.layout).open("ab") as log:
        process = subprocess.Popen(
            module_command("docker_init", lab.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=REPOSITORY,
            start_new_session=True,
        )
    with process:  # the end of its input ends it
        docker = Docker(lab, process)
        docker.start({})
        yield docker
    cgroup.ControlGroups.read(lab.layout.cgroups_file).sweep(docker_init.KIND)
