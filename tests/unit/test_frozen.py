"""Both kinds of dataclass are asked the same: the standard library's is the oracle."""

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest

from ktpy import frozen

KINDS = (dataclasses.dataclass, frozen.dataclass)


def each(ask: Callable[[Any], object]) -> list[object]:
    """What a class of each kind answers, or the error that it raises."""
    answers: list[object] = []
    for dataclass in KINDS:

        @dataclass(frozen=True, slots=True)
        class Port:
            """One."""

            number: int
            name: str = "http"
            labels: dict[str, str] = field(default_factory=dict, repr=False)
            seen: int = field(default=0, compare=False)

            def __str__(self) -> str:
                return f"port {self.number}"

        try:
            answers.append(ask(Port))
        except (TypeError, FrozenInstanceError) as error:
            answers.append(type(error))
    return answers


ASKED: dict[str, Callable[[Any], object]] = {
    "positions": lambda port: asdict(port(1, "web", {"a": "b"}, 3)),
    "keywords": lambda port: asdict(port(name="web", number=1)),
    "defaults of its own each": lambda port: port(1).labels is port(1).labels,
    "repr": lambda port: repr(port(1)).rpartition(".")[2],
    "str": lambda port: str(port(1)),
    "equal": lambda port: (port(1) == port(1, seen=2), port(1) == port(2), port(1) == 1),
    "hash": lambda port: hash(port(1)),
    "replace": lambda port: asdict(replace(port(1), name="web")),
    "fields": lambda port: [one.name for one in fields(port)],
    "match": lambda port: port.__match_args__,
    "no further attributes": lambda port: hasattr(port(1), "__dict__"),
    "assigned": lambda port: setattr(port(1), "number", 2),
    "deleted": lambda port: delattr(port(1), "number"),
    "a missing value": lambda port: port(),
    "a value too many": lambda port: port(1, "web", {}, 3, 4),
    "an unknown field": lambda port: port(1, colour="red"),
    "a value given twice": lambda port: port(1, number=1),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_it_does_what_the_standard_library_does(ask: Callable[[Any], object]) -> None:
    theirs, ours = each(ask)
    assert ours == theirs


def test_fields_that_are_for_keywords_only_take_no_position() -> None:
    @frozen.dataclass(frozen=True, slots=True, kw_only=True)
    class Status:
        kind: str = "connect"

    assert Status(kind="run").kind == "run"
    with pytest.raises(TypeError, match="no field for all of"):
        Status("run")  # type: ignore[call-arg]


def test_objects_without_fields_are_equal_and_can_be_hashed() -> None:
    @frozen.dataclass(frozen=True, slots=True)
    class Synced:
        pass

    assert {Synced(): 1} == {Synced(): 1}


def test_its_own_check_runs_at_the_end() -> None:
    @frozen.dataclass(frozen=True, slots=True)
    class Spec:
        mode: str

        def __post_init__(self) -> None:
            raise ValueError(self.mode)

    with pytest.raises(ValueError, match="tun"):
        Spec("tun")
