"""How a request looks."""

from dataclasses import replace
from typing import Any

import click
import pytest

from ktpy.cli.render import amount
from ktpy.cli.watched import compared, duration, lines, page, path_width, row, row_heading
from ktpy.inspect.events import ConnectionUnread, RequestsMissed, WatchBegun, WatchEvent
from ktpy.inspect.record import HttpMessage
from tests.kit.watched import REQUEST

PLAIN = {"headers": False, "body": False, "curl": False, "secrets": False}


def shown(event: WatchEvent, **more: bool) -> list[str]:
    return [click.unstyle(line) for line in lines(event, **{**PLAIN, **more})]


def test_a_line() -> None:
    [line] = shown(REQUEST)
    assert line[8:].split() == [".250", "7", "80", "200", "12", "ms", "6", "B", "GET", "/api?x=1"]


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"protocol": "h2"}, "/api?x=1  h2"),
        ({"protocol": "websocket", "is_open": True}, "/api?x=1  websocket, open"),
        ({"failure": "gone", "status": None}, "/api?x=1  gone"),
        (
            {
                "protocol": "grpc",
                "grpc_status": 5,
                "request": HttpMessage(messages=2),
                "answer": HttpMessage(messages=1),
            },
            "/api?x=1  grpc, messages 2 in, 1 out, grpc-status 5",
        ),
    ],
)
def test_notes(change: dict[str, Any], end: str) -> None:
    assert shown(replace(REQUEST, **change))[0].endswith(end)


def test_headers_and_body() -> None:
    told = replace(REQUEST, answer=replace(REQUEST.answer, size=70_000))
    assert shown(told, headers=True, body=True)[1:] == [
        "    > Host: web.shop",
        "    > Authorization: Bearer t0ken",
        "    < Content-Type: text/plain",
        "    < Set-Cookie: a=b",
        "    < hello",
        "  note      These were the first 6 of 70000 bytes.",
    ]


def test_a_body_that_is_no_text() -> None:
    told = replace(REQUEST, answer=HttpMessage((), 2, b"\x00\xff"))
    assert shown(told, body=True)[1:] == ["    < (2 bytes that are no text)"]


def test_as_curl() -> None:
    assert shown(REQUEST, curl=True)[1].startswith("    curl -i -H 'Host: web.shop'")


def test_nothing_that_came_reaches_the_terminal_as_control_characters() -> None:
    evil = "\x1b[2J\n"
    told = replace(
        REQUEST, path=evil, failure=evil, method=evil, request=HttpMessage(((evil, evil),), 5, evil.encode())
    )
    for line in (*shown(told, headers=True, body=True), *map(click.unstyle, (row(told, evil, 80), *page(told, evil)))):
        assert line.isprintable()


def test_the_first_lines() -> None:
    first, note, heading = shown(WatchBegun("mesh", "web", "shop", "5e55", "requests with VERSION: a", 2))
    assert first == "Watching mesh of web, namespace shop, session 5e55: requests with VERSION: a. Ctrl-C ends it."
    assert note.startswith("  note      2 connections were open before: ")
    assert heading.split() == ["TIME", "ID", "PORT", "STATUS", "TOOK", "SIZE", "METHOD", "PATH"]


def test_notes_between() -> None:
    assert shown(RequestsMissed(3)) == ["  note      3 requests are not shown: they came faster than they were read."]
    assert shown(ConnectionUnread(80, "it is TLS")) == ["  note      A connection of port 80 is not shown: it is TLS."]


def test_two_answers_side_by_side() -> None:
    again = replace(REQUEST, status=500, took_s=0.5, answer=HttpMessage((), 1500, b"x"), failure="gone")
    assert [click.unstyle(line) for line in compared(REQUEST, again, headers=False, body=True)] == [
        "GET /api?x=1, sent again to local port 3001",
        "               FIRST       AGAIN",
        "status           200         500",
        "took           12 ms      500 ms",
        "size             6 B      1.5 kB",
        "body                     differs",
        "  note      It failed: gone.",
        "first:",
        "    < hello",
        "again:",
        "    < x",
        "  note      These were the first 1 of 1500 bytes.",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.00042, "0.4 ms"), (0.0124, "12 ms"), (3.14, "3.1 s")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1200, "1.2 kB"), (3_400_000, "3.4 MB"), (2 * 10**9, "2.0 GB")])
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize("width", [78, 118])
def test_columns_of_the_full_screen_view_stand_below_their_names(width: int) -> None:
    shown = click.unstyle(row(replace(REQUEST, path="/api/" + "x" * 90), "VERSION: a", width))
    heading = row_heading(width)
    for name, value in (("PATH", "/api/x"), ("FROM", "-"), ("BY", ":3001"), ("WHY", "VERSION: a")):
        assert shown[heading.index(name) :].startswith(value)
    assert shown[heading.index("PATH") :][path_width(width) - 1] == "…"
    assert click.unstyle(row(replace(REQUEST, status=None, failure="gone"), "a", width)).split()[-3:] == [
        "nobody",
        "gone,",
        "a",
    ]


def test_a_page_has_all_that_is_known() -> None:
    told = replace(REQUEST, request=HttpMessage((("User-Agent", "curl/8"),), 2, b"\x00\xff"))
    told = replace(told, answer=HttpMessage((("Content-Type", "application/json"),), 99, b'{"a": 1}'))
    text = "\n".join(map(click.unstyle, page(told, "requests with VERSION: a")))
    assert (
        text[text.index("  status") :]
        == """\
  status       200
  took         12 ms, 10 ms until the answer began
  sent by      curl/8
  answered by  local port 3001
  came here    requests with VERSION: a

Request, 2 B
      User-Agent: curl/8

    00000000  00 ff                                             |..|

Answer, 99 B
      Content-Type: application/json

    {
      "a": 1
    }
  note      These were the first 8 of 99 bytes."""
    )
