"""Processor time of others, as the kernel counts it."""

import os
import time
from pathlib import Path

import pytest

from tests.bench import others
from tests.lab import Lab

STAT = "cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 100 20 30 4000 500 6 7 8 9 10\n"


def test_idling_and_waiting_for_disks_is_no_work_and_what_the_host_steals_is() -> None:
    assert others.busy_s(STAT) == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / os.sysconf("SC_CLK_TCK"))


def test_what_the_lab_and_the_bench_use_is_not_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, groups = Lab("nobody"), tmp_path / "cgroups"
    monkeypatch.setattr(type(lab.layout), "cgroups_file", groups)
    monkeypatch.setattr(others, "busy_s", lambda _: 5000.0)

    def told() -> float:
        """To a tenth of a second: this process works on."""
        return 5000.0 - others.seconds(lab) - time.process_time()

    without = told()
    (tmp_path / "v1").mkdir()
    (tmp_path / "v2").mkdir()
    groups.write_text(f"{tmp_path}/v1\n")
    (tmp_path / "v1" / "cpuacct.usage").write_text("1500000000\n")
    assert told() - without == pytest.approx(1.5, abs=0.5)
    groups.write_text(f"{tmp_path}/v2\n")
    (tmp_path / "v2" / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert told() - without == pytest.approx(2.5, abs=0.5)
