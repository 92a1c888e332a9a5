import pytest

from ktpy.cluster.changes import gateway_pods


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubelet takes a readiness back here, unless a test does."""
    monkeypatch.setattr(gateway_pods, "SETTLED_S", 0.02)
