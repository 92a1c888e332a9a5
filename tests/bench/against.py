"""Another build of ktpy, from the history of this repository, with the packages of this environment."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.errors import BenchError
from tests.lab.layout import REPOSITORY


def _git(*arguments: str | Path) -> str:
    done = subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip())
    return done.stdout.strip()


@contextmanager
def build_of(revision: str) -> Iterator[tuple[str, ...]]:
    """The command line that runs ktpy as it was then. Its checkout goes with the block. BenchError: no such revision.

    It is an environment of its own, since the helper, which is started in Python's isolated mode, must be of that
    build too.
    """
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    checkout = Path(sys.prefix) / "against" / commit  # the laptop's user reads it
    if checkout.exists():  # of a killed run
        _git("worktree", "remove", "--force", checkout)
    _git("worktree", "add", "--quiet", "--detach", checkout, commit)
    try:
        environment = checkout / ".venv"
        venv.create(environment, symlinks=True)
        variables = {"base": str(environment), "platbase": str(environment)}
        packages = Path(sysconfig.get_path("purelib", vars=variables))
        (packages / "against.pth").write_text(f"{checkout}\n{sysconfig.get_path('purelib')}\n")
        yield str(environment / "bin/python"), "-I", "-m", "ktpy"  # -I: not what lies in the working folder
    finally:
        _git("worktree", "remove", "--force", checkout)
