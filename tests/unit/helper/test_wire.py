"""Dataclasses to JSON and back: exactly the declared shape, or nothing."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_address, ip_network

import pytest

from ktpy.helper.wire import Address, MessageError, Network, from_json, to_json


@dataclass(frozen=True)
class Inner:
    data: bytes


@dataclass(frozen=True)
class Everything:
    number: int
    flag: bool
    text: str
    optional: Address | None
    interface: IPv4Interface
    networks: tuple[Network, ...]
    inner: Inner
    inners: tuple[Inner, ...]

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("a number is not negative")


WHOLE = Everything(
    number=1,
    flag=True,
    text="ä",
    optional=ip_address("::1"),
    interface=IPv4Interface("198.18.0.1/30"),
    networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    inner=Inner(b"\x00\xff"),
    inners=(Inner(b""), Inner(b"x")),
)


def test_round_trip() -> None:
    assert from_json(Everything, json.loads(json.dumps(to_json(WHOLE)))) == WHOLE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", True),
        ("number", 1.0),
        ("number", "1"),
        ("number", None),
        ("number", -1),
        ("flag", 1),
        ("text", None),
        ("text", ["a"]),
        ("optional", "localhost"),
        ("optional", 1),
        ("interface", "198.18.0.1/33"),
        ("networks", "10.0.0.0/8"),
        ("networks", ["10.0.0.1/8"]),
        ("networks", [8]),
        ("networks", None),
        ("inner", {"data": "not base64"}),
        ("inner", {}),
        ("inner", {"data": "", "more": 1}),
        ("inner", []),
        ("inners", [None]),
    ],
)
def test_another_shape_is_refused(key: str, value: object) -> None:
    with pytest.raises(MessageError):
        from_json(Everything, to_json(WHOLE) | {key: value})


def test_missing_and_unknown_keys_are_refused() -> None:
    whole = to_json(WHOLE)
    with pytest.raises(MessageError, match="keys"):
        from_json(Everything, {key: whole[key] for key in whole if key != "flag"})
    with pytest.raises(MessageError, match="keys"):
        from_json(Everything, whole | {"__class__": "x"})


def test_optional_may_be_null() -> None:
    assert from_json(Everything, to_json(WHOLE) | {"optional": None}).optional is None


def test_what_has_no_place_in_a_message() -> None:
    with pytest.raises(TypeError):
        to_json({"a": 1})
