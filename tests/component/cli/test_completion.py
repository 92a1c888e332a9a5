"""Shells as a user types into them, each on a terminal of its own, with an API server on the loopback."""

import fcntl
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from tests.kit.listing_api import listing

SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
SOURCE = {
    "bash": "source <(ktpy completion bash)",
    "zsh": "source <(ktpy completion zsh)",
    "fish": "ktpy completion fish | source",
}
DETAILS = {"match": {"headers": [{"name": "VERSION", "exact": "alice"}, {"name": "x-user", "exact": "al"}]}}
OBJECTS: dict[str, list[Any]] = {
    "/api/v1/namespaces/shop/services": [
        {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 8080, "name": "http"}]}},
    ],
    "/apis/apps/v1/namespaces/shop/deployments": [{"metadata": {"name": "website"}}],
    "/apis/coordination.k8s.io/v1/namespaces/shop/leases": [
        {
            "metadata": {
                "name": "ktpy-a",
                "namespace": "shop",
                "uid": "a",
                "resourceVersion": "1",
                "annotations": {"ktpy.dev/details": json.dumps(DETAILS)},
            }
        },
    ],
}
CLEAR_LINE = "\x15"
TIMEOUT_S = 60.0
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
    ("ktpy exchange we", "exchange web "),
    ("ktpy exchange deploym", "exchange deployment/"),
    ("ktpy exchange deployment/we", "deployment/website "),
    ("ktpy exchange web -e 3001:8", "3001:8080 "),
    ("ktpy exchange web --expose=3001:h", "--expose=3001:http"),
    ("ktpy mesh web --version al", "--version alice"),
    ("ktpy mesh web --header x-us", "--header x-user=al"),
]


class Shell:
    """A Shell runs in a folder with a kubeconfig and a program of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._master, slave = pty.openpty()
        path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "KUBECONFIG": "kubeconfig", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [name, *SHELLS[name]],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # without it fish does not begin
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a kubeconfig of the API server, and a program."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "a-program-of-mine").touch(mode=0o755)
    with listing(OBJECTS, folder / "kubeconfig", "arn:aws:eks:one"):
        yield folder


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} on this machine")
    shell = Shell(request.param, folder)
    yield shell
    shell.close()


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_what_a_tab_completes(shell: Shell, typed: str, completed: str) -> None:
    assert completed in shell.type(f"{CLEAR_LINE}{typed}\t", completed)


@pytest.mark.parametrize("shell_name", SHELLS)
def test_the_script_completes_ktpy(shell_name: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell_name])
    assert done.exit_code == 0
    assert f"_KTPY_COMPLETE={shell_name}_complete" in done.output


def test_another_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2
