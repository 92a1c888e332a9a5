"""Commands on the laptop, and what they find there."""

import signal
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, LabError


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -KILL $$"], -signal.SIGKILL),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_exec_ends_as_its_command_does(lab: Lab, argv: list[str], code: int) -> None:
    assert lab.exec(argv).returncode == code


def test_exec_of_an_unknown_user_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="no user 'nobody-at-all'"):
        lab.exec(["true"], user="nobody-at-all")


def test_exec_of_a_lab_that_is_down_is_refused(other: Lab) -> None:
    with pytest.raises(LabError, match="is not up"):
        other.exec(["true"])


def test_standard_input_reaches_the_command(lab: Lab) -> None:
    assert lab.exec(["cat"], stdin="hello").stdout == "hello"


def test_a_started_process_is_the_command_itself(lab: Lab) -> None:
    process = lab.popen(["sh", "-c", "echo $$; exec sleep 60"])
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.kill()
    process.communicate()


def test_the_ordinary_user(lab: Lab) -> None:
    script = 'id -un; echo $HOME; test -O "$XDG_RUNTIME_DIR" && echo own; kubectl get namespace default -o name'
    done = lab.exec(["sh", "-c", script], user="dev", check=True)
    assert done.stdout.splitlines() == ["dev", "/home/dev", "own", "namespace/default"]


def test_the_ordinary_user_may_sudo_and_finds_ktpy_there(lab: Lab) -> None:
    done = lab.exec(["sudo", "-n", "sh", "-c", "id -u; echo $SUDO_USER; command -v ktpy"], user="dev", check=True)
    assert done.stdout.splitlines() == ["0", "dev", str(Path(sys.prefix) / "bin" / "ktpy")]


def test_the_projects_python_runs_for_the_ordinary_user(lab: Lab) -> None:
    assert lab.exec(["python", "-c", "import ktpy; print(ktpy.__version__)"], user="dev").returncode == 0


def test_what_the_laptop_writes_stays_there(lab: Lab) -> None:
    places = ["/etc/ktpy-was-here", "/var/lib/ktpy-was-here", "/run/ktpy-was-here", "/root/ktpy-was-here"]
    lab.exec(["touch", *places], check=True)
    assert lab.exec(["ls", *places]).returncode == 0
    assert [place for place in places if Path(place).exists()] == []


@pytest.mark.parametrize("address", ["10.96.0.1", "10.244.0.2", "fd96::1", "fd44::2"])
def test_the_laptop_has_no_route_into_the_cluster(lab: Lab, address: str) -> None:
    done = lab.exec(["ip", "route", "get", address])
    assert (done.returncode, "unreachable" in done.stderr) == (2, True)


def test_a_tun_can_be_opened(lab: Lab) -> None:
    script = (
        "import fcntl, struct; tun = open('/dev/net/tun', 'r+b', buffering=0);"
        "fcntl.ioctl(tun, 0x400454CA, struct.pack('16sH', b'ktpy0', 0x1001));"  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        "print(open('/sys/class/net/ktpy0/type').read().strip())"
    )
    assert lab.exec(["python", "-c", script]).stdout.strip() == "65534"
