"""`ktpy connect` that fails soon, in a namespace for that."""

from typing import Any

from tests.e2e.kit.failed_command import Attempt, attempt
from tests.lab import Lab

NAMESPACE = "errors"
SOON_S = 40.0
"""Of which a busy machine may take most to start ktpy; no pod is waited for by a time-out that is so short."""
ABSENT_HOST = "10.99.0.77"


def api_object(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **parts}


def failing(lab: Lab, *options: str, within_s: float = SOON_S, **how: Any) -> Attempt:
    failed = attempt(lab, "--namespace", NAMESPACE, *options, **how)
    assert failed.took_s < within_s, failed.output
    return failed
