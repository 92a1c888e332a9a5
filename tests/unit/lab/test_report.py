import pytest

from tests.lab import report
from tests.lab.report import Ticker


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(report, "time", clock)
    return clock


def test_it_speaks_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    report.say("building")
    assert capsys.readouterr() == ("", "lab: building\n")


def test_progress_is_told_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    ticker = Ticker(interval_s=15.0)
    for _ in range(8):
        clock.now_s += 5.0
        ticker.tick("compiling")
    assert capsys.readouterr().err.splitlines() == ["lab:   compiling (15.0 s)", "lab:   compiling (30.0 s)"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0.0 s"), (59.94, "59.9 s"), (61.0, "1 min 1 s")])
def test_time_spent(clock: Clock, seconds: float, text: str) -> None:
    ticker = Ticker()
    clock.now_s += seconds
    assert ticker.elapsed() == text
