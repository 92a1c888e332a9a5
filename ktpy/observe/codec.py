"""Turning frozen dataclasses into JSON objects, and back. A field `in_` has the key `in`, a keyword of Python.

A decoder skips unknown keys, and gives absent ones their defaults: a session and the command that asks it may be of
different versions. `ktpy.helper.wire` is strict instead, for what it reads is done by root.
"""

import types
import typing
from dataclasses import asdict, fields, is_dataclass
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
    return typing.cast(T, _decode(shape, value))


def _decode(shape: Any, value: Any) -> Any:
    if value is None:
        return None
    if typing.get_origin(shape) is types.UnionType:  # something, or None
        [shape] = (one for one in typing.get_args(shape) if one is not types.NoneType)
    if typing.get_origin(shape) is tuple:
        return tuple(_decode(typing.get_args(shape)[0], item) for item in value)
    if not is_dataclass(shape):
        return value
    shapes, keys = typing.get_type_hints(shape), {field.name: field.name.rstrip("_") for field in fields(shape)}
    return shape(**{name: _decode(shapes[name], value[key]) for name, key in keys.items() if key in value})  # type: ignore[operator]
