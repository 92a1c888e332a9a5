"""Turning frozen dataclasses into JSON objects, and back. A field `in_` has the key `in`, a keyword of Python.

A decoder skips unknown keys, and gives absent ones their defaults: a session and the command that asks it may be of
different versions. `ktpy.helper.wire` is strict instead, for what it reads is done by root.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def to_json(value: "DataclassInstance") -> dict[str, Any]:
    """Return a dataclass as `json.dumps` takes it; keys are in the order of the fields."""
    return asdict(value, dict_factory=lambda pairs: {name.rstrip("_"): value for name, value in pairs})


def from_json(shape: type[T], value: dict[str, Any]) -> T:
    """Return the dataclass of a JSON object: the inverse of `to_json`.

    Raises TypeError where a key without a default is absent.
    """
    return typing.cast(T, _decoder(typing.cast(Any, shape))(value))


def _same(value: Any) -> Any:
    return value


@cache
def _decoder(shape: Any) -> Callable[[Any], Any]:
    """Return what decodes a value that is not None. To find out what takes ten times as long as to do it."""
    if typing.get_origin(shape) is types.UnionType:  # something, or None
        [shape] = (one for one in typing.get_args(shape) if one is not types.NoneType)
    if typing.get_origin(shape) is tuple:
        each = _decoder(typing.get_args(shape)[0])
        return lambda value: tuple([None if item is None else each(item) for item in value])
    if not is_dataclass(shape):
        return _same
    shapes, made = typing.get_type_hints(shape), typing.cast(Any, shape)
    parts = [(field.name, field.name.rstrip("_"), _decoder(shapes[field.name])) for field in fields(shape)]

    def decode(value: dict[str, Any]) -> Any:
        return made(
            **{
                name: None if (found := value[key]) is None else part(found)
                for name, key, part in parts
                if key in value
            }
        )

    return decode
