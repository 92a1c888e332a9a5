import pytest

from ktpy.serve import local_port


@pytest.fixture(autouse=True)
def probed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local port that opens or closes is noticed at once."""
    monkeypatch.setattr(local_port, "PROBE_INTERVAL_S", 0.01)
