"""An HTTP Archive has what version 1.2 requires."""

import base64
import json
from dataclasses import replace
from typing import Any

from jsonschema import validate

from ktpy.inspect.har import har
from ktpy.inspect.record import HttpMessage
from tests.kit.watched import REQUEST

TEXT, NUMBER, LIST = {"type": "string"}, {"type": "number"}, {"type": "array"}


def required(**shapes: Any) -> dict[str, Any]:
    return {"type": "object", "properties": shapes, "required": list(shapes)}


PAIRS = {"type": "array", "items": required(name=TEXT, value=TEXT)}
SIZES = {"headersSize": NUMBER, "bodySize": NUMBER}
REQUESTED = required(method=TEXT, url=TEXT, httpVersion=TEXT, cookies=LIST, headers=PAIRS, queryString=PAIRS, **SIZES)
RESPONSE = required(
    status=NUMBER, statusText=TEXT, httpVersion=TEXT, cookies=LIST, headers=PAIRS, redirectURL=TEXT,
    content=required(size=NUMBER, mimeType=TEXT), **SIZES,
)  # fmt: skip
ENTRY = required(
    startedDateTime={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}, time=NUMBER,
    request=REQUESTED, response=RESPONSE, cache={}, timings=required(send=NUMBER, wait=NUMBER, receive=NUMBER),
)  # fmt: skip
SCHEMA = required(
    log=required(
        version={"const": "1.2"},
        creator=required(name=TEXT, version=TEXT),
        entries={"type": "array", "items": ENTRY},
    )
)
"""The required fields of http://www.softwareishard.com/blog/har-12-spec/."""


def entry(told: Any = REQUEST, *, secrets: bool = False) -> dict[str, Any]:
    archive = json.loads(json.dumps(har([told], secrets=secrets)))
    validate(archive, SCHEMA)
    return dict(archive["log"]["entries"][0])


def test_a_request() -> None:
    found = entry()
    assert found["startedDateTime"] == "2023-11-14T22:13:20.250Z"
    assert found["request"]["url"] == "http://web.shop/api?x=1"
    assert found["request"]["queryString"] == [{"name": "x", "value": "1"}]
    assert found["response"]["content"] == {"size": 6, "mimeType": "text/plain", "text": "hello\n"}
    assert found["timings"] == {"send": 0, "wait": 10, "receive": 2}
    assert found["response"]["statusText"] == "OK"


def test_secrets_are_masked_unless_asked_for() -> None:
    assert "t0ken" not in json.dumps(entry())
    assert "t0ken" in json.dumps(entry(secrets=True))


def test_a_body_that_is_no_text_and_not_whole() -> None:
    told = replace(REQUEST, method="POST", request=HttpMessage((), 9, b"\xff\x00\xff\xff\xff"))
    assert entry(told)["request"]["postData"] == {
        "mimeType": "",
        "params": [],
        "text": base64.b64encode(told.request.body).decode(),
        "encoding": "base64",
        "comment": "the first 5 of 9 bytes",
    }


def test_a_request_without_an_answer() -> None:
    found = entry(replace(REQUEST, status=None, waited_s=None, answer=HttpMessage(), failure="gone"))
    assert (found["response"]["status"], found["comment"]) == (0, "request 7 of ktpy watch, gone")
