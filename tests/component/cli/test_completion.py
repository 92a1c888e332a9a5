"""Shells as a user types into them, each on a terminal of its own."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli

SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
SOURCE = {
    "bash": "source <(ktpy completion bash)",
    "zsh": "source <(ktpy completion zsh)",
    "fish": "ktpy completion fish | source",
}
KUBECONFIG = 'contexts: [{name: "arn:aws:eks:one"}, {name: lab}]\ncurrent-context: lab\nclusters: []\nusers: []\n'
CLEAR_LINE = "\x15"
TIMEOUT_S = 20.0
TYPED = [
    ("ktpy lea", "ktpy leave "),
    ("ktpy connect --kubeconfig kubec", "--kubeconfig kubeconfig"),
    ("ktpy connect --kubeconfig=kubec", "--kubeconfig=kubeconfig"),
    ("ktpy connect --context l", "--context lab"),
    ("ktpy connect --context=arn", "--context=arn:aws:eks:one"),
    ("ktpy connect --context arn:a", "--context arn:aws:eks:one"),
    ("ktpy exchange -e 3001:80 --when-local-down=f", "--when-local-down=fail"),
    ("ktpy exchange web -e 3001:80 -- a-program-of-m", "-- a-program-of-mine"),
    ("ktpy exchange web -e 3001:80 -- cat kubec", "cat kubeconfig"),
]


class Shell:
    """A Shell runs in a folder with a kubeconfig and a program of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._master, slave = pty.openpty()
        path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "KUBECONFIG": "kubeconfig", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [name, *SHELLS[name]], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=folder, start_new_session=True
        )
        os.close(slave)
        self.type(f"{SOURCE[name]}; echo rea''dy\n", "ready")

    def type(self, keys: str, expected: str) -> str:
        """Type, and return what is shown until what is expected is among it, or the time is over."""
        os.write(self._master, keys.encode())
        shown, until_s = "", time.monotonic() + TIMEOUT_S
        while expected not in shown and select.select([self._master], [], [], max(0.0, until_s - time.monotonic()))[0]:
            shown += os.read(self._master, 65536).decode(errors="replace")
        return shown

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} on this machine")
    folder = tmp_path_factory.mktemp("home")
    (folder / "kubeconfig").write_text(KUBECONFIG)
    program = folder / "a-program-of-mine"
    program.touch(mode=0o755)
    shell = Shell(request.param, folder)
    yield shell
    shell.close()


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_what_a_tab_completes(shell: Shell, typed: str, completed: str) -> None:
    assert completed in shell.type(f"{CLEAR_LINE}{typed}\t", completed)


def test_help_in_fish_may_have_commas() -> None:
    script = CliRunner().invoke(cli, ["completion", "fish"]).stdout
    assert 'string split --max 1 "," $completion' in script


def test_zsh_need_not_have_run_compinit() -> None:
    script = CliRunner().invoke(cli, ["completion", "zsh"]).stdout
    assert script.startswith("#compdef ktpy\n")
    assert script.index("compinit") < script.index("compdef _ktpy_completion ktpy")
    assert "_normal" in script


@pytest.mark.parametrize("shell_name", SHELLS)
def test_the_script_completes_ktpy(shell_name: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell_name])
    assert done.exit_code == 0
    assert f"_KTPY_COMPLETE={shell_name}_complete" in done.output


def test_another_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2
