"""What the parts of a session count. They are read when somebody asks, so that counting costs an increment."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CounterGroups = dict[str, dict[str, int]]


class CounterRegistry:
    """A CounterRegistry knows how to read each group of counters of a session."""

    def __init__(self) -> None:
        self._readers: dict[str, Callable[[], dict[str, int]]] = {}

    def add(self, group: str, read: Callable[[], dict[str, int]]) -> None:
        """Make `read` tell the group from now on; a later one of the same name takes its place."""
        self._readers[group] = read

    def snapshot(self) -> CounterGroups:
        """The numbers of this moment."""
        return {group: read() for group, read in self._readers.items()}


def numbers(counters: "DataclassInstance") -> dict[str, int]:
    """The fields of a dataclass by name; of a field that counts by reason, `dropped_malformed` and so on."""

    def pairs() -> Iterator[tuple[str, int]]:
        for field in fields(counters):
            match getattr(counters, field.name):
                case dict() as reasons:
                    for reason, number in reasons.items():
                        yield f"{field.name}_{reason.value.replace(' ', '_')}", number
                case number:
                    yield field.name, number

    return dict(pairs())
