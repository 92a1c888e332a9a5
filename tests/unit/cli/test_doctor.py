import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.doctor.finding import Finding, State
from ktpy.sessions import doctor as session

FINE = Finding("clock", State.OK, "They agree.")
BAD = Finding("rights for run", State.FAILED, "Missing:\n- {pods}", "ktpy rbac shop al --run")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is found, then what was asked."""
    asked: list[Any] = [[FINE]]

    def look(options: Any, uses: Any, tell: Any, *, with_pod: bool) -> list[Finding]:
        asked.append((options.namespace, uses, with_pod, options.pod_timeout_s))
        for one in asked[0]:
            tell(one)
        return list(asked[0])

    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", Path("/nowhere")))
    monkeypatch.setattr(session, "look", look)
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments])


def test_all_is_well(asked: list[Any]) -> None:
    done = run("-n", "shop", "--rbac", "run", "--rbac", "dev", "--pod", "--pod-timeout", "5")
    assert (done.exit_code, done.stdout) == (0, f"ok        {'clock':<20} They agree.\nNone of 1 checks failed.\n")
    assert asked[1:] == [("shop", ("run", "dev"), True, 5.0)]


def test_what_has_failed_is_told_with_its_mend(asked: list[Any]) -> None:
    asked[0].append(BAD)
    done = run()
    assert done.exit_code == 64
    assert done.stdout.splitlines()[1:] == [
        "failed    rights for run       Missing:",
        f"{'':<30} - {{pods}}",
        f"{'':<30} mend: ktpy rbac shop al --run",
    ]
    assert done.stderr == "error: 1 of 2 checks failed.\n"


def test_json(asked: list[Any]) -> None:
    asked[0].append(BAD)
    done = run("-o", "json")
    assert done.exit_code == 64
    assert json.loads(done.stdout) == {
        "schema": 1,
        "findings": [
            {"subject": "clock", "state": "ok", "seen": "They agree.", "mend": None},
            {"subject": BAD.subject, "state": "failed", "seen": BAD.seen, "mend": BAD.mend},
        ],
    }
