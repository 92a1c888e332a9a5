"""How rows are chosen, and what of their rounds counts."""

import pytest

from tests.bench.cli import BENCHES, parser
from tests.bench.goals import at_most
from tests.bench.samples import Summary
from tests.bench.specs import Spec, UnknownRow, select
from tests.kit.inline_commands import given_to

ROWS = (Spec("first", "s"), Spec("http-new", "ms"), Spec("http-kept", "ms"), Spec("http-new", "ms", suffix="-other"))


def names(specs: list[Spec]) -> list[str]:
    return [spec.name for spec in specs]


def test_no_pattern_selects_all() -> None:
    assert select(ROWS, []) == list(ROWS)


def test_what_is_measured_on_request_needs_a_pattern() -> None:
    rows = (*ROWS, Spec("peer/first", "s", on_request=True))
    assert names(select(rows, [])) == names(list(ROWS))
    assert names(select(rows, ["*first"])) == ["first", "peer/first"]


def test_patterns_select_in_the_catalogues_order() -> None:
    assert names(select(ROWS, ["http-kept", "first"])) == ["first", "http-kept"]


def test_patterns_are_as_of_file_names() -> None:
    assert names(select(ROWS, ["http-?e[w]*"])) == ["http-new", "http-new-other"]


def test_a_pattern_that_selects_nothing_is_a_mistake() -> None:
    with pytest.raises(UnknownRow, match="htpp"):
        select(ROWS, ["first", "htpp-*"])


@pytest.mark.parametrize(("is_worst", "figure"), [(False, 2.0), (True, 9.0)])
def test_the_median_round_counts_or_the_worst(is_worst: bool, figure: float) -> None:
    assert Spec("failed", "requests", goal=at_most(0), is_worst=is_worst).figure_of(Summary(2.0, 0.0, 9.0, 3)) == figure


def test_rows_that_the_documents_name_exist() -> None:
    named = [parser().parse_args(told) for told in given_to("bench") if told]
    assert len(named) > 5
    for options in named:
        assert select(BENCHES[options.verb].cases, [one for one in options.rows.split(",") if one])
