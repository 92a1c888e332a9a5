"""Requests as an HTTP Archive, version 1.2 (http://www.softwareishard.com/blog/har-12-spec/), which browsers open."""

import base64
import http.client
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ktpy import __version__
from ktpy.inspect.record import Headers, HttpMessage, WatchedRequest, masked
from ktpy.inspect.text import as_text, plain_body


def har(told: Iterable[WatchedRequest], *, secrets: bool) -> dict[str, Any]:
    """Return the archive as `json.dump` takes it. Secrets in headers are masked unless asked for."""
    entries = [_entry(one, secrets=secrets) for one in told]
    return {"log": {"version": "1.2", "creator": {"name": "ktpy", "version": __version__}, "entries": entries}}


def _entry(told: WatchedRequest, *, secrets: bool) -> dict[str, Any]:
    waited_s = told.took_s if told.waited_s is None else told.waited_s
    version = {"h2": "HTTP/2", "grpc": "HTTP/2", "http/1.0": "HTTP/1.0"}.get(told.protocol, "HTTP/1.1")
    remark = ", ".join(filter(None, (f"request {told.id} of ktpy watch", told.failure)))
    return {
        "startedDateTime": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(told.began_s))}"
        f".{int(told.began_s % 1 * 1000):03d}Z",
        "time": _ms(told.took_s),
        "request": _request(told, version, secrets=secrets),
        "response": _response(told, version, secrets=secrets),
        "cache": {},
        "timings": {"send": 0, "wait": _ms(waited_s), "receive": _ms(told.took_s - waited_s)},
        "comment": remark,
    }


def _request(told: WatchedRequest, version: str, *, secrets: bool) -> dict[str, Any]:
    request = told.request
    url = f"http://{request.header('host') or f'localhost:{told.local_port}'}{told.path}"
    found = {
        "method": told.method,
        "url": url,
        "httpVersion": version,
        "cookies": [],
        "headers": _headers(request.headers, secrets=secrets),
        "queryString": [
            {"name": name, "value": value}
            for name, value in parse_qsl(urlsplit(told.path).query, keep_blank_values=True)
        ],
        "headersSize": -1,
        "bodySize": request.size,
    }
    if request.size:
        found["postData"] = {"mimeType": _type(request), "params": [], **_text(request.body, told.request)}
    return found


def _response(told: WatchedRequest, version: str, *, secrets: bool) -> dict[str, Any]:
    answer, status = told.answer, told.status or 0
    body = plain_body(answer)
    return {
        "status": status,
        "statusText": http.client.responses.get(status, ""),
        "httpVersion": version,
        "cookies": [],
        "headers": _headers(answer.headers, secrets=secrets),
        "content": {
            "size": len(body) if answer.is_whole else answer.size,
            "mimeType": _type(answer),
            **_text(body, answer),
        },
        "redirectURL": answer.header("location") or "",
        "headersSize": -1,
        "bodySize": answer.size,
    }


def _text(body: bytes, message: HttpMessage) -> dict[str, str]:
    text = as_text(body)
    found = {"text": text} if text is not None else {"text": base64.b64encode(body).decode(), "encoding": "base64"}
    return found if message.is_whole else {**found, "comment": f"the first {len(message.body)} of {message.size} bytes"}


def _headers(headers: Headers, *, secrets: bool) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in (headers if secrets else masked(headers))]


def _type(message: HttpMessage) -> str:
    return message.header("content-type") or ""


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
