"""`ktpy up` and `down` with real commands: what they start goes on by itself, and goes with them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ktpy.daemon.runtime import COMMAND, RuntimeDirectory
from ktpy.helper.processes import start_ticks
from ktpy.sessions.up import AT_ONCE
from tests.kit.waiting import eventually

KTPY = """
import os, sys
from pathlib import Path
from ktpy.daemon import session_command
from ktpy.daemon.runtime import RuntimeDirectory
RuntimeDirectory.of = lambda _caller: RuntimeDirectory(Path(sys.argv[1]))
session_command.KTPY = (sys.executable, "-c", os.environ["KTPY"], sys.argv[1])
from ktpy.cli.main import cli
cli(sys.argv[2:])
"""
FILE = """
commands:
- name: first
  command: [sh, -c, "sleep 300 & echo $! > child; wait"]
- name: second
  command: ["echo $$ >> second; exec sleep ${SLEEP:-300}"]
"""
BROKEN_KUBECONFIG = "mesh: [{target: web, expose: [3001:80]}]\n"


class Team:
    """A folder with a ktpy.yaml, and what is typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = RuntimeDirectory(folder / "run")
        self.open_there: tuple[int, ...] = ()
        """Descriptors that its shell has."""
        (folder / "ktpy.yaml").write_text(FILE)
        self._environment = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(folder / "kubeconfig"), "KTPY": KTPY}

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", KTPY, str(self.runtime.path), *words, "--output", "json"],
            cwd=self.folder,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=self.open_there,
        )

    def run(self, *words: str, exit_code: int = 0, **environment: str) -> dict[str, Any]:
        return self.told(self.start(*words, **environment), exit_code)

    def told(self, process: "subprocess.Popen[str]", exit_code: int | None) -> dict[str, Any]:
        stdout, stderr = process.communicate(timeout=60)
        assert exit_code in (None, process.returncode), stdout + stderr
        return dict(json.loads(stdout or stderr))

    def changes(self, *words: str, **more: Any) -> dict[str, str]:
        return {one["name"].removeprefix("command-"): one["change"] for one in self.run(*words, **more)["entries"]}

    def sessions(self) -> dict[str, Any]:
        return {one["reference"]: one for one in self.run("status")["sessions"]}


def words(file: Path) -> list[str]:
    """What a command has written so far: it may just have been started."""
    return file.read_text().split() if file.exists() else []


@contextmanager
def beginning(team: Team) -> "Iterator[subprocess.Popen[str]]":
    """Yield a `ktpy up` that is about to begin a forward, while the API server does not answer."""
    (team.folder / "ktpy.yaml").write_text(FILE + "forward: [{target: web}]\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        cluster = {"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}}
        context = {"name": "a", "context": {"cluster": "a"}}
        kubeconfig = {"current-context": "a", "clusters": [cluster], "contexts": [context]}
        (team.folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        process = team.start("up")
        with server.accept()[0]:  # it stays open, without an answer
            yield process


@pytest.fixture
def team(tmp_path: Path) -> Any:
    team = Team(tmp_path)
    yield team
    team.run("down")


def test_twice_once_killed_once_told_otherwise_and_down(team: Team) -> None:
    assert team.changes("up") == {"first": "start", "second": "start"}
    first = team.sessions()
    assert team.changes("up") == {"first": "none", "second": "none"}
    assert {name: one["pid"] for name, one in team.sessions().items()} == {
        name: one["pid"] for name, one in first.items()
    }
    assert eventually(lambda: len(words(team.folder / "child")) == 1)
    child = int(words(team.folder / "child")[0])
    os.kill(first["first"]["pid"], signal.SIGKILL)
    assert eventually(lambda: len(team.runtime.control_sockets(COMMAND)) == 1)
    assert team.changes("up", "--dry-run", SLEEP="200") == {"first": "start", "second": "restart"}
    assert start_ticks(child)
    assert team.changes("up", SLEEP="200") == {"first": "start", "second": "restart"}
    assert start_ticks(child) is None  # what the killed one had left
    assert eventually(lambda: len(words(team.folder / "second")) == 2)
    (team.folder / "ktpy.yaml").unlink()
    down = team.run("down", "command-second")
    assert ([one["name"] for one in down["entries"]], down["left"][0]["name"]) == (["command-second"], "command-first")
    assert team.run("down")["left"] == []
    assert team.run("status", exit_code=36)["sessions"] == []
    left = {path.name for path in team.runtime.path.iterdir()}
    assert left == {"up.lock", "command-first.log", "command-second.log"}


def test_a_command_that_ends_at_once_says_so_and_one_that_is_stopped_is_not_begun_again(team: Team) -> None:
    (team.folder / "ktpy.yaml").write_text(FILE + "- {name: third, command: ['true']}\n")
    reasons = {one["name"]: one["reason"] for one in team.run("up")["entries"]}
    assert reasons == {"command-first": None, "command-second": None, "command-third": AT_ONCE}
    pid = team.sessions()["first"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        first, second, third = team.run("up", exit_code=71)["entries"]
        assert (second["change"], third["failure"]["exit_code"]) == ("none", 71)
        assert f"The session of process {pid} has not answered" in first["failure"]["error"]
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_command_keeps_nothing_open_that_the_shell_had(team: Team) -> None:
    read, write = os.pipe()
    team.open_there = (write,)
    team.run("up")
    team.open_there = ()
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "", "somebody has its other end"


def test_a_failure_leaves_standing_what_stands_and_is_the_exit_code(team: Team) -> None:
    (team.folder / "ktpy.yaml").write_text(FILE + "- {name: third, command: ['exit 3']}\n")
    failed = team.run("up", exit_code=69)["entries"]
    assert [one["failure"] and one["failure"]["error"] for one in failed] == [None, None, "third has ended with 3."]
    assert set(team.sessions()) == {"first", "second"}


def test_ctrl_c_is_for_what_is_being_begun_which_undoes_it(team: Team) -> None:
    with beginning(team) as process:
        os.killpg(process.pid, signal.SIGINT)
        forward, *commands = team.told(process, 130)["entries"]
    assert forward["failure"]["error"] == "Interrupted; nothing was changed."
    assert {one["reason"] for one in commands} == {"it waits for what has failed"}
    assert team.run("status", exit_code=36)["sessions"] == []


def test_what_a_killed_up_is_beginning_is_waited_for(team: Team) -> None:
    with beginning(team) as process:
        process.kill()
        process.communicate(timeout=60)
        assert "Another `ktpy up`" in team.run("down", exit_code=70)["error"]
    assert eventually(lambda: team.told(team.start("down"), None).get("entries") == [])


def test_what_means_nothing_begins_nothing(team: Team) -> None:
    (team.folder / "ktpy.yaml").write_text(FILE + BROKEN_KUBECONFIG)
    assert "kubeconfig" in team.run("up", exit_code=10)["error"]
    assert team.run("status", exit_code=36)["sessions"] == []
