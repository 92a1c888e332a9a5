"""A request as JSON, and back; secrets stay behind."""

import json
from dataclasses import replace

import pytest

from ktpy.inspect.record import MASK, Headers, HttpMessage, from_object, masked, to_object
from tests.kit.watched import REQUEST


def test_there_and_back() -> None:
    assert from_object(json.loads(json.dumps(to_object(REQUEST, bodies=True, secrets=True)))) == REQUEST


def test_bodies_are_left_behind_unless_asked_for() -> None:
    found = to_object(REQUEST, bodies=False, secrets=True)
    assert (found["answer"]["body"], found["answer"]["size"]) == (None, 6)
    assert from_object(found) == replace(REQUEST, answer=replace(REQUEST.answer, body=b""))


def test_secrets_are_masked_unless_asked_for() -> None:
    found = json.dumps(to_object(REQUEST, bodies=False, secrets=False))
    assert "t0ken" not in found
    assert "a=b" not in found
    assert MASK in found


def test_which_headers_are_secret() -> None:
    names = ["Authorization", "COOKIE", "Set-Cookie", "proxy-authorization", "X-Api-Key", "Host"]
    assert [value for _, value in masked(tuple((name, "v") for name in names))] == [MASK] * 5 + ["v"]


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ((), "-"),
        ((("User-Agent", "curl/8.1 (x)"),), "curl/8.1"),
        ((("user-agent", "curl/8.1"), ("X-Forwarded-For", "10.0.0.7, 10.0.0.1")), "10.0.0.7"),
        ((("X-Real-IP", "fd00::7"), ("User-Agent", "curl/8.1")), "fd00::7"),
    ],
)
def test_who_sent_it_as_it_says_itself(headers: Headers, sender: str) -> None:
    assert replace(REQUEST, request=HttpMessage(headers)).sender == sender
