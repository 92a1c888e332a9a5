"""A request as a command; tests/component/serve/test_watching.py runs such commands."""

import shlex
from dataclasses import replace

import pytest

from ktpy.inspect.curl import curl
from ktpy.inspect.record import HttpMessage
from tests.kit.watched import REQUEST

POST = replace(REQUEST, method="POST", request=HttpMessage((("Host", "web"), ("Content-Length", "3")), 3, b"a'b"))


def test_a_get() -> None:
    assert curl(REQUEST, secrets=False) == (
        "curl -i -H 'Host: web.shop' -H 'Authorization: ***' 'http://localhost:3001/api?x=1'"
    )


def test_with_its_secrets() -> None:
    assert "Bearer t0ken" in curl(REQUEST, secrets=True)


def test_a_post_with_text() -> None:
    words = shlex.split(curl(POST, secrets=False))
    assert words == ["curl", "-i", "-H", "Host: web", "http://localhost:3001/api?x=1", "--data-raw", "a'b"]


@pytest.mark.parametrize("body", [b"\x00\xff", b"a\nb"])
def test_other_bodies_are_base64(body: bytes) -> None:
    told = curl(replace(POST, request=replace(POST.request, body=body, size=len(body))), secrets=False)
    assert told.startswith("echo ")
    assert told.endswith("--data-binary @-")
    assert told.isprintable()


def test_a_body_that_was_not_kept_whole_is_said() -> None:
    told = curl(replace(POST, request=replace(POST.request, size=70_000)), secrets=False)
    assert told.endswith("  # its body of 70000 bytes was not kept whole")
    assert "-X POST" not in told


@pytest.mark.parametrize(("method", "words"), [("DELETE", "-X DELETE"), ("HEAD", "--head")])
def test_methods(method: str, words: str) -> None:
    assert f" {words} " in curl(replace(REQUEST, method=method), secrets=False)


def test_http2() -> None:
    assert "--http2-prior-knowledge" in curl(replace(REQUEST, protocol="h2"), secrets=False)
