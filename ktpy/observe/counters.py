"""What the parts of a session count. They are read when somebody asks, so that counting costs an increment."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Numbers = dict[str, int]
CounterReaders = dict[str, Callable[[], Numbers]]
"""How each group of a session's counters is read: its parts put themselves in."""


def snapshot(readers: CounterReaders) -> dict[str, Numbers]:
    """The numbers of this moment, by group."""
    return {group: read() for group, read in readers.items()}


def numbers(counters: "DataclassInstance") -> Numbers:
    """The fields of a dataclass by name; of one that counts by reason, `dropped_malformed` and so on."""
    found: Numbers = {}
    for name, value in ((field.name, getattr(counters, field.name)) for field in fields(counters)):
        by_reason = value.items() if isinstance(value, dict) else ()
        found |= {f"{name}_{reason.value.replace(' ', '_')}": number for reason, number in by_reason} or {name: value}
    return found
