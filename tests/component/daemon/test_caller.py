"""Privileges dropped for good, and an environment that comes back through sudo, in processes of their own."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

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


ADOPT = """
import json, os
from ktpy.daemon.caller import adopt_environment
adopt_environment()
print(json.dumps(dict(os.environ)))
"""


LOADING = ("LD_LIBRARY_PATH", "PYTHONSTARTUP", "GCONV_PATH", "OPENSSL_CONF", "BASH_ENV", "PERL5LIB", "GLIBC_TUNABLES")


def adopted(tmp_path: Path, environment: dict[str, str], *assignments: str) -> dict[str, str]:
    """The environment after sudo, a process that is named and started as sudo is and runs its command for nobody."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        f"#!{sys.executable}\n"
        "import os, subprocess, sys\n"
        "open('/proc/self/comm', 'w').write('sudo')\n"
        f"clean = {{'PATH': '/usr/bin', 'SUDO_UID': '{NOBODY.pw_uid}', 'PYTHONPATH': {str(Path.cwd())!r}}}\n"
        "sys.exit(subprocess.run(['/usr/bin/env', *sys.argv[1:]], env=clean).returncode)\n"
    )
    sudo.chmod(0o755)
    command = [str(sudo), *assignments, sys.executable, "-c", ADOPT]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, check=True)
    seen: dict[str, str] = json.loads(done.stdout)
    return seen


def test_the_environment_of_another_user_comes_back(tmp_path: Path) -> None:
    seen = adopted(tmp_path, {"KUBECONFIG": "a:b", "AWS_PROFILE": "dev"})
    assert seen["KUBECONFIG"] == "a:b"
    assert seen["AWS_PROFILE"] == "dev"
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["HOME"] == NOBODY.pw_dir
    assert seen["USER"] == "nobody"
    assert seen["SUDO_UID"] == str(NOBODY.pw_uid)


def test_what_changes_the_code_that_root_loads_does_not_come_back(tmp_path: Path) -> None:
    seen = adopted(tmp_path, {"KUBECONFIG": "a:b", **dict.fromkeys(LOADING, str(tmp_path))})
    assert seen["KUBECONFIG"] == "a:b"
    assert not set(LOADING) & set(seen)


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
from ktpy.cli.main import cli
from ktpy.daemon.runtime import RuntimeDirectory
sys.modules["ktpy.cli.connect"].launch_helper = lambda caller, _say: caller.drop_privileges()
RuntimeDirectory.of = lambda _caller: RuntimeDirectory(Path("/nonexistent/run"))
cli(["connect", "--detach"])
"""


def test_a_home_that_cannot_be_made_is_told_without_a_traceback() -> None:
    environment = {**os.environ, "SUDO_UID": str(NOBODY.pw_uid)}
    done = subprocess.run([sys.executable, "-c", DETACH], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 37
    assert "ktpy cannot write to /nonexistent/run" in done.stderr
    assert "Traceback" not in done.stderr
