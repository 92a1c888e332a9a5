"""Privileges dropped for good, and an environment that comes back through sudo, in processes of their own."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

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


def test_the_environment_of_another_user_comes_back_whole(tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"  # a process that is named and started as sudo is, and runs its command as root for nobody
    sudo.write_text(
        f"#!{sys.executable}\n"
        "import os, subprocess, sys\n"
        "open('/proc/self/comm', 'w').write('sudo')\n"
        f"clean = {{'PATH': '/usr/bin', 'SUDO_UID': '{NOBODY.pw_uid}', 'PYTHONPATH': {str(Path.cwd())!r}}}\n"
        "sys.exit(subprocess.run(sys.argv[1:], env=clean).returncode)\n"
    )
    sudo.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": "a:b", "AWS_PROFILE": "dev"}
    done = subprocess.run([sudo, sys.executable, "-c", ADOPT], env=environment, capture_output=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["KUBECONFIG"] == "a:b"
    assert seen["AWS_PROFILE"] == "dev"
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["HOME"] == NOBODY.pw_dir
    assert seen["USER"] == "nobody"
    assert seen["SUDO_UID"] == str(NOBODY.pw_uid)
