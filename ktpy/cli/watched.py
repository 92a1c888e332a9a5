"""How requests that are watched look on a terminal: a line for each, and what belongs to it below."""

import time
from collections.abc import Iterator

import click

from ktpy.cli.render import amount, clean, note, table
from ktpy.inspect.curl import curl as as_curl
from ktpy.inspect.events import ConnectionUnread, RequestsMissed, WatchBegun, WatchEvent
from ktpy.inspect.record import HttpMessage, WatchedRequest
from ktpy.inspect.text import as_text, plain_body, readable

_HEADING = f"{'TIME':<12} {'ID':>5} {'PORT':>5} STATUS {'TOOK':>8} {'SIZE':>8} {'METHOD':<7} PATH"
_COLOURS = {"1": "cyan", "2": "green", "3": "cyan", "4": "yellow", "5": "red"}
"""By the first digit of the status."""


def lines(event: WatchEvent, *, headers: bool, body: bool, curl: bool, secrets: bool) -> Iterator[str]:
    """Yield the lines of an event."""
    match event:
        case WatchBegun():
            yield from _begun(event)
        case RequestsMissed(count):
            yield note(f"{count} requests are not shown: they came faster than they were read.")
        case ConnectionUnread(port, reason):
            yield note(f"A connection of port {port} is not shown: {reason}.")
        case WatchedRequest():
            yield line(event)
            if curl:
                yield f"    {clean(as_curl(event, secrets=secrets))}"
            for mark, message in ((">", event.request), ("<", event.answer)):
                yield from details(mark, message, headers=headers, body=body)


def _begun(event: WatchBegun) -> Iterator[str]:
    what = f"{event.intercept} of {event.service}, namespace {event.namespace}"
    yield clean(f"Watching {what}, session {event.session}: {event.why}. Ctrl-C ends it.")
    if event.open_connections:
        yield note(
            f"{event.open_connections} connections were open before: HTTP/1.1 is shown from where a request surely "
            "begins, HTTP/2 not at all."
        )
    yield click.style(_HEADING, dim=True)


def line(told: WatchedRequest) -> str:
    """Return the line of a request."""
    at, status = _clock(told) + f".{int(told.began_s % 1 * 1000):03d}", _coloured(str(told.status or "-"))
    took, size = duration(told.took_s), amount(told.answer.size)
    head = f"{at} {told.id:>5} {told.port:>5} {status} {took:>8} {size:>8} {clean(told.method):<7} {clean(told.path)}"
    notes = ", ".join(_notes(told))
    failure = f"  {click.style(clean(told.failure), fg='yellow')}" if told.failure else ""
    return head + (f"  {click.style(clean(notes), dim=True)}" if notes else "") + failure


def cells(told: WatchedRequest, why: str) -> tuple[str, ...]:
    """Return what the columns of a view say of a request: see `row_heading`. `why` it came here is part of the last."""
    status = str(told.status or "-")
    took, size = duration(told.took_s), amount(told.answer.size)
    ends = (told.failure, *_notes(told), why.removeprefix("requests with "))
    found = (_clock(told), told.method, told.path, status, took, size, told.sender, _answerer(told))
    return tuple(map(clean, (*found, ", ".join(filter(None, ends)))))


def row(told: WatchedRequest, why: str, width: int) -> str:
    """Return the row of a request in a view of so many columns."""
    clock, method, path, status, took, size, sender, answerer, end = cells(told, why)
    room = path_width(width)
    head = (
        f"{clock} {method:<7} {_cut(path, room):<{room}} {_coloured(status)} {took:>8} {size:>8} {_cut(sender, 15):<15}"
    )
    return f"{head} {answerer:<6} {click.style(end, fg='yellow' if told.failure else None, dim=not told.failure)}"


def row_heading(width: int) -> str:
    """Return what stands above the rows."""
    columns = f"{'STATUS':<6} {'TOOK':>8} {'SIZE':>8} {'FROM':<15} {'BY':<6} WHY"
    return f"{'TIME':<8} {'METHOD':<7} {'PATH':<{path_width(width)}} {columns}"


def path_width(width: int) -> int:
    """Return how many columns a path has in a view so wide: all that the others leave."""
    return max(13, width - 89)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _clock(told: WatchedRequest) -> str:
    return time.strftime("%H:%M:%S", time.localtime(told.began_s))


def _coloured(status: str) -> str:
    return click.style(f"{status:>6}", fg=_COLOURS.get(status[:1], "red"))


def _answerer(told: WatchedRequest) -> str:
    """Return the local port that answered: what others answered is not watched."""
    return f":{told.local_port}" if told.status else "nobody"


def page(told: WatchedRequest, why: str) -> Iterator[str]:
    """Yield the lines that show all that is known of a request."""
    yield click.style(clean(f"{told.method} {told.path}"), bold=True)
    waited = "" if told.waited_s is None else f", {duration(told.waited_s)} until the answer began"
    facts = [
        ("began", f"{_clock(told)}, request {told.id} of port {told.port}"),
        ("status", f"{told.status or 'none'}{f', {told.failure}' if told.failure else ''}"),
        ("took", duration(told.took_s) + waited),
        ("sent by", told.sender),
        ("answered by", f"local port {told.local_port}" if told.status else "nobody"),
        ("came here", why),
        ("notes", ", ".join(_notes(told))),
    ]
    yield from table([(f"  {name}", clean(value)) for name, value in facts if value])
    for name, message in (("Request", told.request), ("Answer", told.answer)):
        yield ""
        yield click.style(f"{name}, {amount(message.size)}", bold=True)
        yield from details(" ", message, headers=True, body=False)
        if message.size:
            yield ""
            yield from (f"    {clean(one)}" for one in readable(message).splitlines())
            if not message.is_whole:
                yield _cut_body(message)


def _notes(told: WatchedRequest) -> Iterator[str]:
    if told.protocol != "http/1.1":
        yield told.protocol
    if told.request.messages is not None:
        yield f"messages {told.request.messages} in, {told.answer.messages or 0} out"
    if told.grpc_status is not None:
        yield f"grpc-status {told.grpc_status}"
    if told.is_open:
        yield "open"


def details(mark: str, message: HttpMessage, *, headers: bool, body: bool) -> Iterator[str]:
    """Yield the headers and the body of one half."""
    if headers:
        for name, value in message.headers:
            yield f"    {mark} {click.style(clean(name), bold=True)}: {clean(value)}"
    if body and message.size:
        plain = plain_body(message)
        text = as_text(plain)
        shown = text.splitlines() if text is not None else [f"({len(plain)} bytes that are no text)"]
        yield from (f"    {mark} {clean(one)}" for one in shown)
        if not message.is_whole:
            yield _cut_body(message)


def _cut_body(message: HttpMessage) -> str:
    return note(f"These were the first {len(message.body)} of {message.size} bytes.")


def compared(first: WatchedRequest, again: WatchedRequest, *, headers: bool, body: bool, **_: bool) -> Iterator[str]:
    """Yield the lines that show the two answers side by side."""
    yield f"{clean(first.method)} {clean(first.path)}, sent again to local port {first.local_port}"
    rows = [
        ("", "FIRST", "AGAIN"),
        ("status", *(str(one.status or "-") for one in (first, again))),
        ("took", *(duration(one.took_s) for one in (first, again))),
        ("size", *(amount(one.answer.size) for one in (first, again))),
        ("body", "", "the same" if _content(first) == _content(again) else "differs"),
    ]
    yield from (f"{name:<8}{left:>12}{right:>12}" for name, left, right in rows)
    if again.failure:
        yield note(f"It failed: {again.failure}.")
    for name, one in (("first", first), ("again", again)):
        if headers or body:
            yield f"{name}:"
            yield from details("<", one.answer, headers=headers, body=body)


def _content(told: WatchedRequest) -> tuple[int, bytes]:
    return told.answer.size, told.answer.body


def duration(seconds: float) -> str:
    """Return it with the unit that suits: 0.4 ms, 12 ms, 3.1 s."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    ms = seconds * 1000
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
