"""Which rows there are, and how they are chosen."""

import pytest

from tests.bench import measurements
from tests.bench.catalogue import CONNECT, FIRST_BYTE, KTPY, ROUND_TRIPS_MS, UnknownRow, select


def test_no_two_rows_have_one_name() -> None:
    names = [spec.name for spec in CONNECT]
    assert len(set(names)) == len(names)


def test_every_row_can_be_measured() -> None:
    phases = [measurements.STRAIGHT, *map(measurements.at_round_trip, ROUND_TRIPS_MS)]
    measured = {figure for phase in phases for measurement in phase for figure in measurement.figures}
    wanted = {source.figure for spec in CONNECT for source in spec.sources}
    assert wanted == measured | {FIRST_BYTE}


def test_no_pattern_selects_all() -> None:
    assert select(CONNECT, []) == list(CONNECT)


def test_patterns_select_in_the_catalogues_order() -> None:
    chosen = [spec.name for spec in select(CONNECT, ["http-kept-p50", "first-byte"])]
    assert chosen == ["first-byte", "http-kept-p50"]


def test_patterns_are_as_of_file_names() -> None:
    chosen = [spec.name for spec in select(CONNECT, ["http-new-p?9*"])]
    assert chosen == ["http-new-p99", "http-new-p99-sshuttle"]


def test_a_pattern_that_selects_nothing_is_a_mistake() -> None:
    with pytest.raises(UnknownRow, match="htpp"):
        select(CONNECT, ["first-byte", "htpp-*"])


def test_a_row_at_latency_needs_the_figure_without() -> None:
    [spec] = select(CONNECT, ["throughput-8-down-80ms"])
    assert [(source.contender, source.figure) for source in spec.sources] == [
        (KTPY, "throughput-8-down-80ms"),
        (KTPY, "throughput-8-down"),
    ]
