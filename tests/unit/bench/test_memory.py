"""Memory, as /proc has it."""

import os

import pytest

from tests.bench.memory import field_mb, of_process, peak_mb


def test_the_kernels_kb_are_1024_bytes() -> None:
    assert field_mb("Name:\tktpy\nVmRSS:\t    1000 kB\nVmData: 5 kB\n", "VmRSS") == pytest.approx(1.024)


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        field_mb("VmPeak:\t1 kB\n", "VmRSS")


def test_of_a_real_process() -> None:
    own = of_process(os.getpid())
    assert own["rss"] <= peak_mb(os.getpid()) * 1.1
    assert 1 < own["pss"] <= own["rss"] * 1.1
