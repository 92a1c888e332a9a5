"""When a request is told."""

import time
from time import perf_counter

import pytest

from ktpy.inspect.draft import Draft


def test_it_ends_once() -> None:
    told: list[Draft] = []
    draft = Draft(told.append, perf_counter, "http/1.1", "GET", "/", ())
    draft.end("gone")
    draft.end()
    assert [one.failure for one in told] == ["gone"]


def test_without_an_answer_it_has_no_status() -> None:
    draft = Draft(lambda _: None, perf_counter, "http/1.1", "GET", "/", ())
    draft.end("gone")
    told = draft.record(3, 80, 3001)
    assert (told.id, told.status, told.waited_s, told.port, told.local_port) == (3, None, None, 80, 3001)
    assert told.took_s >= 0


def test_grpc_is_known_by_its_content_type() -> None:
    draft = Draft(lambda _: None, perf_counter, "h2", "POST", "/", (("content-type", "application/grpc+proto"),))
    assert (draft.protocol, draft.record(1, 80, 1).request.messages) == ("grpc", 0)


def test_times_are_those_when_its_pieces_came() -> None:
    came_at_s = 10.0
    draft = Draft(lambda _: None, lambda: came_at_s, "http/1.1", "GET", "/", ())
    came_at_s = 10.5
    draft.begin_answer(200, ())
    came_at_s = 12.0
    draft.take_answer(b"ok")
    draft.end()
    told = draft.record(1, 80, 1)
    assert (told.waited_s, told.took_s) == (0.5, 2.0)
    assert told.began_s == pytest.approx(time.time() - (time.perf_counter() - 10.0), abs=1)
