"""What tells two looks at a laptop apart, and which processes are whose."""

import pytest

from tests.chaos.laptop_state import Look, Running, named
from tests.lab.processes import ProcessRecord

BEFORE = """=== routes
default via 10.0.0.1
=== resolver
# by hand
nameserver 10.0.0.1
=== files
/home/dev/.kube/config
/home/dev/old
"""


def test_nothing_has_changed() -> None:
    assert Look.parse(BEFORE).differences(Look.parse(BEFORE)) == ()


def test_sections_and_files_are_told() -> None:
    now = BEFORE.replace("default via", "10.96.0.0/16 dev ktpy0\ndefault via").replace(
        "/home/dev/old", "/home/dev/.local/state/ktpy/intercepts/0a1b2c3d4e5f.json"
    )
    assert Look.parse(BEFORE).differences(Look.parse(now)) == (
        "routes",
        "record",
        "file /home/dev/old is gone",
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/run/user/1000/ktpy/intercept.0a1b2c3d4e5f.sock", "control socket"),
        ("/run/user/1000/ktpy/shortcuts/0a1b2c3d4e5f", "shortcut"),
        ("/run/user/1000/ktpy/up.lock", "file /run/user/1000/ktpy/up.lock"),
    ],
)
def test_files_are_told_as_what_they_are(path: str, name: str) -> None:
    assert named(path) == name


@pytest.mark.parametrize(
    ("argv", "is_main", "is_helper"),
    [
        (("/x/python3", "/x/bin/ktpy", "exchange", "target"), True, False),
        (("/x/python3", "-m", "tests.e2e.kit.signal_at_step", "SIGSTOP", "exchange", "target"), True, False),
        (("/x/python3", "-m", "ktpy.helper", "5"), False, True),
        (("sudo", "-n", "/x/python3", "-m", "ktpy.helper", "5"), False, False),
        (("/x/python3", "/x/bin/ktpy", "clean"), False, False),
    ],
)
def test_roles(argv: tuple[str, ...], is_main: bool, is_helper: bool) -> None:
    running = Running(ProcessRecord(1, 1), argv, "S")
    assert (running.is_main("exchange"), running.is_helper) == (is_main, is_helper)
