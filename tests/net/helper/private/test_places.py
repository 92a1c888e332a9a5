"""What a program is shown at paths that root owns, or that there are not; its namespaces go with the process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.layout import REPOSITORY

PROGRAM = """
import json, os
from pathlib import Path
from ktpy.helper.private import namespaces
from ktpy.helper.private.messages import Place
from ktpy.helper.private.places import Covers, Places

before = {"/": sorted(os.listdir("/")), "/etc": sorted(os.listdir("/etc"))}
namespaces.make(os.getuid(), os.getgid())
places = Places(Covers())
folder = Path(f"/proc/self/fd/{places.open()}")
for path in ("etc/ktpy-absent/deep/app.conf", "ktpy-absent/data/x", "var/run/secrets/ktpy/token", "etc/hosts"):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(path)
shown = [
    Place("/etc/ktpy-absent/deep/app.conf", True), Place("/ktpy-absent/data", False),
    Place("/var/run/secrets/ktpy", True), Place("/etc/hosts", True), Place("/none/in/folder", True),
]
failures = places.show(shown)
(folder / "var/run/secrets/ktpy/token").write_text("renewed")
Path("/ktpy-absent/data/new").write_text("written")

def refusal(path):
    try:
        Path(path).write_text("")
    except OSError as error:
        return error.strerror

print(json.dumps({
    "app.conf": Path("/etc/ktpy-absent/deep/app.conf").read_text(),
    "data": [Path("/ktpy-absent/data/x").read_text(), (folder / "ktpy-absent/data/new").read_text()],
    "token": Path("/run/secrets/ktpy/token").read_text(),
    "hosts": Path("/etc/hosts").read_text(),
    "read-only": [refusal(place.path) for place in shown if place.path.endswith((".conf", "hosts"))],
    "beside": [sorted(os.listdir("/etc")) == sorted([*before["/etc"], "ktpy-absent"]),
               sorted(os.listdir("/")) == sorted([*before["/"], "ktpy-absent"])],
    "works": [os.path.exists("/proc/self/exe"), os.path.exists("/dev/null")],
    "failures": failures,
}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    command = ["unshare", "--mount", sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_is_at_its_path_and_what_was_beside_it_is_there_still(seen: dict[str, Any]) -> None:
    assert seen["app.conf"] == "etc/ktpy-absent/deep/app.conf"
    assert seen["hosts"] == "etc/hosts"
    assert seen["beside"] == [True, True]
    assert seen["works"] == [True, True]


def test_changes_show_both_ways_unless_it_is_read_only(seen: dict[str, Any]) -> None:
    assert seen["data"] == ["ktpy-absent/data/x", "written"]
    assert seen["token"] == "renewed"
    assert seen["read-only"] == ["Read-only file system"] * 2


def test_what_cannot_be_shown_is_told(seen: dict[str, Any]) -> None:
    assert seen["failures"] == ["/none/in/folder cannot be shown to the program: No such file or directory."]


OWN = """
import sys
from pathlib import Path

from ktpy.helper.private.messages import Place
from ktpy.helper.private.places import Covers, Places

places = Places(Covers())
folder = Path(f"/proc/self/fd/{places.open()}")
inside = Path(sys.argv[1], "absent")
(folder / str(inside)[1:]).parent.mkdir(parents=True)
(folder / str(inside)[1:]).touch()
print(*places.show([Place(str(inside), True)]), sep="\\n")
"""


def test_a_user_is_told_of_a_folder_of_his_own_that_is_covered(tmp_path: Path) -> None:
    """Root stands for the user of a user namespace."""
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--mount"]
    command = [*user, sys.executable, "-c", OWN, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path} has to be covered for the pod's files: what the program creates")
