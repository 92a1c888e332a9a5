from collections.abc import Iterator

from ktpy.cli.grammar import grammar_of
from ktpy.cli.main import cli
from ktpy.completion import names
from ktpy.completion.line import Grammar

KINDS = {
    "context": {"contexts"},
    "namespace": {"namespaces"},
    "target": {"targets", "intercepts"},
    "workload": {"targets"},
    "service": {"services", "targets"},
    "targets": {"sessions"},
    "expose": {"exposed", "ports"},
    "exchange": {"ports"},
    "headers": {"headers"},
    "mesh": {"versions"},
}


def parameters(command: Grammar) -> Iterator[Grammar]:
    yield from (*command["options"], *command["arguments"])
    for below in command["commands"].values():
        yield from parameters(below)


def test_whatever_names_something_is_completed_by_names_that_are_found() -> None:
    found = [one for one in parameters(grammar_of(cli)) if one["completes"] is not None]
    assert {one["name"] for one in found} >= set(KINDS)
    assert [one for one in found if one["name"] in KINDS and one["completes"] not in KINDS[one["name"]]] == []
    kinds = {one["completes"] for one in found if isinstance(one["completes"], str)}
    assert kinds - {"", "file", "dir"} == set(names._FINDERS)
