import base64
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ktpy.doctor.credentials import credentials
from ktpy.doctor.finding import State
from ktpy.errors import KubeconfigMissing
from tests.unit.kube.certificates import KeyPair


def token(**in_: float) -> str:
    payload = {"exp": (datetime.now(UTC) + timedelta(**in_)).timestamp()} if in_ else {}
    return f"x.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.x"


def told(user: dict[str, Any]) -> list[tuple[State, str]]:
    return [(one.state, one.seen.partition(" at ")[0]) for one in credentials(user)]


def test_a_token_tells_when_it_expires(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{token(hours=-1)}\n")
    assert told({"token": token(hours=2)}) == [(State.OK, "The token expires")]
    assert told({"token": token(minutes=5)}) == [(State.WARNING, "The token expires")]
    assert told({"tokenFile": str(tmp_path / "token"), "token": "other"}) == [(State.FAILED, "The token has expired")]
    assert told({"auth-provider": {"config": {"id-token": token(days=-1)}}}) == [
        (State.FAILED, "The token has expired")
    ]
    [expired] = credentials({"token": token(hours=-1)})
    assert expired.mend == "Log in again, or ask whoever runs the cluster for another kubeconfig."


@pytest.mark.parametrize("opaque", ["", "opaque", "a.b", "a.b.c", "a.bnVsbA.c", token()])
def test_another_token_tells_nothing(opaque: str, tmp_path: Path) -> None:
    nothing = [(State.OK, "Nothing in the kubeconfig tells that they expire.")]
    assert told({"token": opaque}) == told({"tokenFile": str(tmp_path / "absent")}) == nothing


def test_a_client_certificate(tmp_path: Path, key_pair: KeyPair) -> None:
    data = base64.b64encode(key_pair.certificate).decode()
    assert told({"client-certificate-data": data}) == [(State.WARNING, "The client certificate expires")]  # tomorrow
    garbage = base64.b64encode(b"garbage").decode()
    [(state, seen)] = told({"client-certificate-data": garbage})
    assert (state, seen.partition(":")[0]) == (State.FAILED, "The client certificate cannot be read")
    with pytest.raises(KubeconfigMissing):
        credentials({"client-certificate": str(tmp_path / "absent")})


def test_a_credential_plugin() -> None:
    [fine] = credentials({"exec": {"command": sys.executable}})
    assert (fine.state, fine.seen) == (State.OK, f"The credential plugin {sys.executable} gives them.")
    [relative] = credentials({"exec": {"command": sys.executable, "args": ["get", "./token.py"]}})
    assert (relative.state, " is given ./token.py, as seen from " in relative.seen) == (State.WARNING, True)
    [absent] = credentials({"exec": {"command": "/nowhere/login"}})
    assert (absent.state, absent.mend) == (State.FAILED, "It is looked for in the kubeconfig's own folder.")
    [hinted] = credentials({"exec": {"command": "no-such-login", "installHint": "Install it."}})
    assert hinted.mend == "Install it."
    assert told({"token": "counts first", "exec": {"command": "no-such-login"}})[0][0] is State.OK
