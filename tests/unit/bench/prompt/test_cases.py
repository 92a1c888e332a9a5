"""Which rows `scripts/bench prompt` has."""

from tests.bench.cases import AGAINST
from tests.bench.prompt.cases import HELP, PROMPT, against


def test_no_two_rows_have_one_name() -> None:
    names = [spec.name for spec in against(PROMPT)]
    assert len(set(names)) == len(names)


def test_another_revision_is_compared_in_rows_beside_the_others() -> None:
    some = [spec for spec in PROMPT if spec.figure == HELP]
    *same, wall, cpu = against(some)
    assert same == some
    assert [(spec.name, spec.is_paired) for spec in (wall, cpu)] == [("help-against", True), ("help-against-cpu", True)]
    assert {spec.baseline.contender for spec in (wall, cpu) if spec.baseline} == {AGAINST}
