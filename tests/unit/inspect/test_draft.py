"""When a request is told."""

from ktpy.inspect.draft import Draft


def test_it_ends_once() -> None:
    told: list[Draft] = []
    draft = Draft(told.append, "http/1.1", "GET", "/", ())
    draft.end("gone")
    draft.end()
    assert [one.failure for one in told] == ["gone"]


def test_without_an_answer_it_has_no_status() -> None:
    draft = Draft(lambda _: None, "http/1.1", "GET", "/", ())
    draft.end("gone")
    told = draft.record(3, 80, 3001)
    assert (told.id, told.status, told.waited_s, told.port, told.local_port) == (3, None, None, 80, 3001)
    assert told.took_s >= 0


def test_grpc_is_known_by_its_content_type() -> None:
    draft = Draft(lambda _: None, "h2", "POST", "/", (("content-type", "application/grpc+proto"),))
    assert (draft.protocol, draft.record(1, 80, 1).request.messages) == ("grpc", 0)
