"""A program in the place of a workload's pod: its name, environment and files, of which the machine has none."""

import json
import subprocess

import pytest

from tests.net.capture.namespace.conftest import Box

SEES = """
import json, os, socket, time
from pathlib import Path

colour = Path("/ktpy-app/etc/colour")
first = colour.read_text()
mode = oct(colour.stat().st_mode & 0o777)
Path("/var/cache/ktpy-app/x").write_text("mine")
try:
    Path("/ktpy-app/etc/x").touch()
    refusal = ""
except OSError as error:
    refusal = error.strerror
Path("/tmp/ktpy-change").touch()
deadline = time.monotonic() + 20
while colour.read_text() == first and time.monotonic() < deadline:
    time.sleep(0.05)
print(json.dumps({
    "colours": [first, colour.read_text()],
    "mode": mode,
    "refusal": refusal,
    "environment": [os.environ["COLOUR"], os.environ["HOSTNAME"]],
    "host": [socket.gethostname(), socket.gethostbyname("web-0"), os.uname().nodename],
    "machine": [os.path.exists("/etc/passwd"), os.path.exists("/proc/self"), os.access("/tmp", os.W_OK)],
}))
"""


@pytest.mark.parametrize("by", ["a user", "sudo"])
def test_a_program_in_the_place_of_a_pod(box: Box, by: str) -> None:
    command = ["env", "KTPY_TEST_WORKLOAD=1", *box.command("python3", "-c", SEES, by=by)]
    done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "colours": ["red", "blue"],
        "mode": "0o400",
        "refusal": "Read-only file system",
        "environment": ["red", "web-0"],
        "host": ["web-0", "10.244.0.7", "web-0"],
        "machine": [True, True, True],
    }
    assert box.shell("ls -d /ktpy-app /var/cache/ktpy-app 2>/dev/null || true") == ""
