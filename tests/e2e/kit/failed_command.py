"""`ktpy connect` that is expected to fail: what it says, with which exit code, after how long."""

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Lab

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """How it ended. `message` is the one sentence after `error:`, `hint` all that follows it."""

    exit_code: int
    message: str
    hint: str
    output: str
    took_s: float


def attempt(
    lab: Lab,
    *options: str,
    command: Sequence[str] = ("sudo", "ktpy", "connect"),
    user: str = "dev",
    kubeconfig: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Attempt:
    """Run it to its end, which must be an error that is said once, in a sentence, and without a traceback."""
    named = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    started_s = time.monotonic()
    done = lab.exec([*command, *named, *options], user=user, env=env, timeout_s=TIMEOUT_S)
    took_s = time.monotonic() - started_s
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "Traceback" not in output, output
    said = re.fullmatch(r"(?:.*\n)?error: (?P<message>[^\n]+)\n(?:hint: (?P<hint>.+)\n)?", done.stderr, re.DOTALL)
    assert said is not None, output
    assert re.fullmatch(r"\S.*\.", said["message"]), said["message"]
    hint = re.sub(r"^ {6}", "", said["hint"] or "", flags=re.MULTILINE)
    return Attempt(done.returncode, said["message"], hint, output, took_s)


class Kubeconfigs:
    """Kubeconfigs of a cluster-admin, changed in one place, as files that the laptop's users can read."""

    def __init__(self, lab: Lab, prefix: str) -> None:
        self._lab = lab
        self._prefix = prefix
        self._admin = json.loads(lab.kubeconfig(f"{prefix}-admin", ["system:masters"]).read_text())
        self._count = 0

    def text(self, text: str | bytes) -> Path:
        """A file of this content, whatever it is."""
        self._count += 1
        path = self._lab.state_dir / "kubeconfigs" / f"{self._prefix}-{self._count}.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o644)
        return path

    def changed(self, *, cluster: Mapping[str, Any] = {}, user: Mapping[str, Any] | None = None) -> Path:
        """Other values in the cluster's entry; another user altogether."""
        document = json.loads(json.dumps(self._admin))
        document["clusters"][0]["cluster"] |= cluster
        if user is not None:
            document["users"][0]["user"] = dict(user)
        return self.text(json.dumps(document))


def encoded(pem: bytes) -> str:
    """As a kubeconfig holds what would else be a file."""
    return base64.b64encode(pem).decode()
