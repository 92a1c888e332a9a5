"""This module turns frozen dataclasses into JSON and back; it refuses what is not exactly the declared shape.

The helper is root and reads what an unprivileged process wrote, and a journal is replayed by a later version
or after a crash, so the decoder does not guess. Missing and unknown keys, wrong types (a bool is
not an int) and malformed addresses all raise `MessageError`; the dataclasses' own `__post_init__` checks
what a value may be.
"""

import base64
import dataclasses
import functools
import operator
import types
import typing
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

T = TypeVar("T")


class MessageError(ValueError):
    """The value is not of the declared shape, or not one that is allowed."""


def to_json(value: object) -> Any:
    """Turn a dataclass (or any value one may hold) into what `json.dumps` takes."""
    match value:
        case None | bool() | int() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case tuple():
            return [to_json(item) for item in value]
        case IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
            return str(value)
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a message")


def from_json(shape: type[T], value: object) -> T:
    """Build a `shape` from decoded JSON; raises `MessageError` on any difference from the declaration."""
    try:
        return typing.cast(T, _decode(shape, value))
    except MessageError:
        raise
    except (ValueError, TypeError) as exc:  # an address that does not parse, a `__post_init__` that refuses
        raise MessageError(str(exc)) from exc


def _decode(shape: Any, value: object) -> object:
    if dataclasses.is_dataclass(shape):
        return _decode_dataclass(typing.cast(type, shape), value)
    origin = typing.get_origin(shape)
    if origin is tuple:
        item_shape, *_ = typing.get_args(shape)
        if not isinstance(value, list):
            raise MessageError(f"expected a list, got {_kind(value)}")
        return tuple(_decode(item_shape, item) for item in value)
    if shape in _PARSERS:
        if not isinstance(value, str):
            raise MessageError(f"expected a string, got {_kind(value)}")
        return _PARSERS[shape](value)
    if origin in (types.UnionType, typing.Union):
        return _decode_optional(typing.get_args(shape), value)
    if type(value) is not shape:  # not isinstance: True is an int
        raise MessageError(f"expected {getattr(shape, '__name__', shape)}, got {_kind(value)}")
    return value


def _decode_dataclass(shape: type, value: object) -> object:
    if not isinstance(value, dict):
        raise MessageError(f"expected an object, got {_kind(value)}")
    hints = typing.get_type_hints(shape)
    names = [field.name for field in dataclasses.fields(shape)]
    if set(value) != set(names):
        raise MessageError(f"{shape.__name__} has the keys {names}, got {sorted(map(str, value))}")
    return shape(**{name: _decode(hints[name], value[name]) for name in names})


def _decode_optional(alternatives: tuple[Any, ...], value: object) -> object:
    """Decode the one kind of union that messages have besides the address types: something, or null."""
    if value is None and types.NoneType in alternatives:
        return None
    something = [alternative for alternative in alternatives if alternative is not types.NoneType]
    return _decode(functools.reduce(operator.or_, something), value)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


_PARSERS: dict[Any, typing.Callable[[str], object]] = {
    bytes: lambda text: base64.b64decode(text, validate=True),
    IPv4Address: IPv4Address,
    IPv6Address: IPv6Address,
    IPv4Interface: IPv4Interface,
    IPv6Interface: IPv6Interface,
    Address: ip_address,
    Network: ip_network,
}
