"""Which requests are shown, and filters that are none."""

from dataclasses import replace

import pytest

from ktpy.inspect.choice import Choice, parse_methods, parse_path, parse_statuses, parse_words
from tests.kit.watched import REQUEST


@pytest.mark.parametrize(
    ("choice", "takes"),
    [
        (Choice(), True),
        (Choice(methods=("GET", "PUT")), True),
        (Choice(methods=("PUT",)), False),
        (Choice(paths=("/api",)), True),
        (Choice(paths=("/api/",)), False),
        (Choice(paths=("/ap",)), False),
        (Choice(paths=("/",)), True),
        (Choice(paths=("/x", "*p?")), True),
        (Choice(paths=("/x*",)), False),
        (Choice(statuses=("404", "2xx")), True),
        (Choice(statuses=("200",)), True),
        (Choice(statuses=("5xx",)), False),
        (Choice(methods=("GET",), statuses=("5xx",)), False),
    ],
)
def test_what_is_taken(choice: Choice, takes: bool) -> None:
    assert choice.takes(REQUEST) is takes


def test_below_a_path() -> None:
    assert Choice(paths=("/api",)).takes(replace(REQUEST, path="/api/items"))
    assert not Choice(paths=("/api",)).takes(replace(REQUEST, path="/apis"))


def test_a_request_without_an_answer_has_no_status() -> None:
    assert not Choice(statuses=("5xx",)).takes(replace(REQUEST, status=None))


def test_words() -> None:
    assert (parse_methods("get, POST"), parse_statuses("404,5XX")) == (("GET", "POST"), ("404", "5xx"))


@pytest.mark.parametrize("text", ["", "7xx", "20", "2000", "200,", "ok"])
def test_no_status(text: str) -> None:
    with pytest.raises(ValueError, match="is no status"):
        parse_statuses(text)


@pytest.mark.parametrize("text", ["", "G T", "GET;", "1"])
def test_no_method(text: str) -> None:
    with pytest.raises(ValueError, match="is no method"):
        parse_methods(text)


def test_no_path() -> None:
    with pytest.raises(ValueError, match="is no path"):
        parse_path("api")


@pytest.mark.parametrize("text", ["", "GET,POST 404,5xx /api */items/*", "PURGE", "/a /b"])
def test_a_line_of_words_is_what_is_written_for_it(text: str) -> None:
    assert str(parse_words(text)) == text


def test_a_line_of_words() -> None:
    assert parse_words(" /api get  5XX PURGE ") == Choice(("GET", "PURGE"), ("/api",), ("5xx",))
    for text, said in (("api", "is no method, status or path"), ("20", "is no status"), ("GET,", "is no method")):
        with pytest.raises(ValueError, match=said):
            parse_words(text)
