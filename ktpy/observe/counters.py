"""Reading what the parts of a session count. It happens when somebody asks, so that counting costs an increment."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Numbers = dict[str, int]
CounterReaders = dict[str, Callable[[], Numbers]]
"""A function for each group of a session's counters; the part that counts puts it in."""


def numbers(counters: "DataclassInstance") -> Numbers:
    """Return the fields of a dataclass by name; a field that counts by reason gives `dropped_malformed` and so on."""
    found: Numbers = {}
    for name, value in ((field.name, getattr(counters, field.name)) for field in fields(counters)):
        by_reason = value.items() if isinstance(value, dict) else ()
        found |= {f"{name}_{reason.value.replace(' ', '_')}": number for reason, number in by_reason} or {name: value}
    return found
