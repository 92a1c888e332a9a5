"""Privileges dropped for good, and an environment that comes back through sudo, in processes of their own."""

import ast
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.kit.waiting import eventually

NOBODY = pwd.getpwnam("nobody")


DROP = """
import json, os
from ktpy.daemon.caller import Caller
Caller.current().drop_privileges()
try:
    os.setuid(0)
    regained = True
except PermissionError:
    regained = False
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), regained]))
"""


def test_dropped_privileges_cannot_be_taken_back() -> None:
    environment = {**os.environ, "SUDO_UID": str(NOBODY.pw_uid)}
    done = subprocess.run([sys.executable, "-c", DROP], env=environment, capture_output=True, check=True)
    uids, gids, groups, regained = json.loads(done.stdout)
    assert set(uids) == {NOBODY.pw_uid}
    assert set(gids) == {NOBODY.pw_gid}
    assert 0 not in groups
    assert not regained


COME = """
import json, os, shutil, subprocess
from ktpy.daemon.caller import come_from_sudo
subprocess.run([shutil.which("marker") or "true"], check=True)  # nothing of the caller's is found yet
come_from_sudo()
subprocess.run([shutil.which("marker") or "true"], check=True)
print(json.dumps([os.getresuid(), dict(os.environ)]))
"""


def behind_sudo(
    tmp_path: Path, program: str, *arguments: str, environment: dict[str, str], given: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a Python program by sudo: a process that is named and started as sudo is, and runs its command for nobody."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        f"#!{sys.executable} -I\n"
        "import os, subprocess, sys\n"
        "open('/proc/self/comm', 'w').write('sudo')\n"
        f"clean = {{'PATH': '/usr/bin', 'SUDO_UID': '{NOBODY.pw_uid}', 'PYTHONPATH': {str(Path.cwd())!r}}}\n"
        "sys.exit(subprocess.run(['/usr/bin/env', *sys.argv[1:]], env=clean).returncode)\n"
    )
    sudo.chmod(0o755)
    command = [str(sudo), *given, sys.executable, "-c", program, *arguments]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def adopted(tmp_path: Path, environment: dict[str, str], *assignments: str) -> dict[str, str]:
    """The environment after sudo."""
    done = behind_sudo(tmp_path, COME, environment=environment, given=assignments)
    uids, seen = json.loads(done.stdout)
    assert set(uids) == {NOBODY.pw_uid}
    assert isinstance(seen, dict)
    return seen


def test_the_environment_of_another_user_comes_back(tmp_path: Path) -> None:
    seen = adopted(tmp_path, {"KUBECONFIG": "a:b", "AWS_PROFILE": "dev"})
    assert seen["KUBECONFIG"] == "a:b"
    assert seen["AWS_PROFILE"] == "dev"
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["HOME"] == NOBODY.pw_dir
    assert seen["USER"] == "nobody"
    assert seen["SUDO_UID"] == str(NOBODY.pw_uid)


def test_what_changes_the_code_that_is_loaded_comes_back_to_the_caller_alone(tmp_path: Path) -> None:
    """All of it: credential plugins may need it, and no list of what is harmful is ever complete."""
    loading = dict.fromkeys(("LD_LIBRARY_PATH", "PYTHONPATH", "GCONV_PATH", "OPENSSL_CONF", "BASH_ENV"), "/nonexistent")
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        marker = Path(folder) / "marker"
        marker.write_text(f"#!/bin/sh\n: > {folder}/run-by-$(id -u)\n")
        marker.chmod(0o755)
        seen = adopted(tmp_path, {**loading, "PATH": f"{folder}:{os.environ['PATH']}"})
        marks = {mark.name for mark in Path(folder).glob("run-by-*")}
    assert loading.items() <= seen.items()
    assert marks == {f"run-by-{NOBODY.pw_uid}"}


def test_what_is_given_behind_sudo_wins(tmp_path: Path) -> None:
    own = {"KUBECONFIG": "own", "KTPY_INCLUDE": "192.0.2.0/24"}
    seen = adopted(tmp_path, own, "KUBECONFIG=other", "KTPY_NAMESPACE=shop", "KTPY_INCLUDE=")
    assert seen["KUBECONFIG"] == "other"
    assert seen["KTPY_NAMESPACE"] == "shop"
    assert seen["KTPY_INCLUDE"] == ""


COMMAND = """
import json, os, sys
from ktpy.cli.main import cli
from ktpy.daemon import privileged
from ktpy.daemon.runtime import RuntimeDirectory

def find(*_):
    print(json.dumps(os.getresuid()))
    os._exit(0)

privileged.undo_stale_journals_unasked = lambda _say: None
RuntimeDirectory.of = find
cli([sys.argv[1]])
"""


@pytest.mark.parametrize("command", ["status", "quit", "leave", "version", "logs"])
def test_root_is_given_up_before_the_folder_of_the_caller_is_looked_into(command: str) -> None:
    environment = {**os.environ, "SUDO_UID": str(NOBODY.pw_uid)}
    started = [sys.executable, "-u", "-c", COMMAND, command]
    done = subprocess.run(started, env=environment, capture_output=True, check=True)
    assert set(json.loads(done.stdout)) == {NOBODY.pw_uid}


DETACH = """
import sys
from pathlib import Path
import ktpy.cli.connect
from ktpy.cli.main import cli
from ktpy.daemon.runtime import RuntimeDirectory
ktpy.cli.connect.launch_helper = lambda caller, _say: caller.drop_privileges()
RuntimeDirectory.of = lambda _caller: RuntimeDirectory(Path("/nonexistent/run"))
cli(["connect", "--detach"])
"""


def test_a_home_that_cannot_be_made_is_told_without_a_traceback() -> None:
    environment = {**os.environ, "SUDO_UID": str(NOBODY.pw_uid)}
    done = subprocess.run([sys.executable, "-c", DETACH], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 37
    assert "ktpy cannot write to /nonexistent/run" in done.stderr
    assert "Traceback" not in done.stderr


KTPY = """
import traceback, ktpy.cli.main, ktpy.cli.connect, ktpy.cli.verbosity, yaml  # nobody may not read this, perhaps
from ktpy.__main__ import main
main()
"""


def test_a_file_that_only_root_may_read_is_not_read_under_sudo(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("spec: {hostname: secret}\n")
    secret.chmod(0o600)
    done = behind_sudo(tmp_path, KTPY, "connect", "--pod-overlay", str(secret), environment={})
    assert done.returncode == 2
    assert "ermission denied" in done.stderr
    assert "hostname" not in done.stderr


LAUNCH = """
import os, sys
from ktpy.daemon.caller import Caller, come_from_sudo
from ktpy.daemon.privileged import launch_helper
from ktpy.helper import launch
launch.COMMAND = ("/bin/sh", "-c", 'id -u >&2; env >&2; read -r word; echo said: "$word" >&2')
come_from_sudo()
assert os.geteuid() != 0
helper = launch_helper(Caller.current(), print)
helper.socket.send(b"x")
helper.socket.send(b"\\n")
print(helper.is_started(), helper._lines())
"""


def test_the_helper_that_stood_by_is_root_with_nothing_of_the_callers_environment(tmp_path: Path) -> None:
    environment = {"LD_LIBRARY_PATH": "/nonexistent", "PYTHONPATH": "/nonexistent", "MARKED": "by the caller"}
    done = behind_sudo(tmp_path, LAUNCH, environment=environment)
    started, lines = done.stdout.split(maxsplit=1)
    assert started == "True"
    uid, *inherited, word = ast.literal_eval(lines)
    assert (uid, word) == ("0", "said: x")
    assert {line.partition("=")[0] for line in inherited} - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "SUDO_UID"}


@pytest.mark.parametrize("ends", ["os._exit(0)", "Caller.current().drop_privileges(); standing_by.wait()"])
def test_what_stands_by_ends_where_no_helper_is_wanted(tmp_path: Path, ends: str) -> None:
    program = f"""
import os
from ktpy.daemon.caller import Caller, come_from_sudo
from ktpy.helper import launch
come_from_sudo()
standing_by = launch._standing_by._process
print(standing_by.pid, flush=True)
{ends}
"""
    done = behind_sudo(tmp_path, program, environment={})
    assert done.stderr == ""
    status = Path(f"/proc/{int(done.stdout)}/status")
    assert eventually(lambda: not status.exists() or "State:\tZ" in status.read_text())
