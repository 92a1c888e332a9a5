"""`ktpy watch` shows the requests that an exchange, a mesh, a preview or a tap serves on this laptop, as they pass."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ktpy.cli import render
from ktpy.cli.complete import intercept_names
from ktpy.cli.leave import is_meant
from ktpy.cli.options import output, parsed, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import INTERCEPT, RuntimeDirectory
from ktpy.errors import InterceptAbsent, UsageError
from ktpy.observe.status import InterceptStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ktpy.cli.watch_feed import Ask
    from ktpy.inspect.choice import Choice
    from ktpy.inspect.events import WatchEvent

ARCHIVE_LIMIT_BYTES = 64 << 20
"""Of what --har writes: of more, the last."""


def _in_a_folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse at once what could not be written at the end."""
    if value is not None and not os.access(value.absolute().parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"The folder of {value} is not there, or cannot be written.")
    return value


@click.command()
@click.argument("target", required=False, shell_complete=intercept_names)
@click.option("--session", metavar="ID", help="The session, where TARGET names several; as ktpy status shows it.")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Only these methods: GET, or GET,POST.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only paths below this, or like '*/items/*'.")
@click.option("--status", "statuses", multiple=True, metavar="CODE", help="Only these statuses: 404, 5xx, or 404,5xx.")
@click.option("--plain", is_flag=True, help="Print lines on a terminal too, in place of the full-screen view.")
@click.option("--web", is_flag=True, help="Show them as a page of this laptop, whose address is printed.")
@click.option("--headers", is_flag=True, help="Show the headers.")
@click.option("--body", is_flag=True, help="Show the first 64 KiB of each body.")
@click.option("--secrets", is_flag=True, help="Show Authorization, Cookie and the like as they are.")
@click.option("--curl", is_flag=True, help="Print each request as a command that sends it again.")
@click.option(
    "--har",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_a_folder,
    metavar="FILE",
    help="Write an HTTP Archive at the end.",
)
@click.option("--replay", type=int, metavar="ID", help="Send the request of this id again, and compare the answers.")
@output
@verbose
def watch(
    target: str | None,
    session: str | None,
    methods: tuple[str, ...],
    paths: tuple[str, ...],
    statuses: tuple[str, ...],
    output: str,
    har: Path | None,
    replay: int | None,
    plain: bool,
    web: bool,
    **shown: bool,
) -> None:
    """Show the requests that your exchange, mesh, preview or tap of TARGET serves on this laptop, until Ctrl-C.

    TARGET is the service, as for ktpy leave. Without it, the only one there is. A request is told when it is answered.
    On a terminal this is a full-screen view, unless an option asks for what is printed: --plain, --headers, --body,
    --curl, --har, or JSON.

    \b
    ktpy watch web --status 5xx --body
    ktpy watch web --replay 7
    """
    choice = _choice(methods, paths, statuses)
    if replay is not None and (har or shown["curl"] or methods or paths or statuses):
        raise click.UsageError("--replay sends one request: it goes with --headers, --body and --secrets only.")
    if shown["curl"] and output == "json":
        raise click.UsageError("--curl prints commands, not JSON: leave out one of the two.")
    if web and (plain or har or replay is not None or shown["headers"] or shown["body"] or shown["curl"]):
        raise click.UsageError("--web goes with --method, --path, --status and --secrets only: the page has the rest.")
    path = _session(target, session)
    _give_way()
    how = {"bodies": shown["body"] or shown["curl"] or har is not None, "secrets": shown["secrets"]}
    if replay is not None:
        _replay(path, {**how, "bodies": True, "id": replay}, output, **shown)
    elif web:
        _serve(path, choice, output, secrets=shown["secrets"])
    elif not (plain or how["bodies"] or shown["headers"] or output == "json") and _is_terminal():
        _view(path, choice, secrets=shown["secrets"])
    else:
        _watch(path, how, choice, output, har, **shown)


def _give_way() -> None:
    """Have the scheduler never stop another process because this one has something to read: sched(7), SCHED_BATCH."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _is_terminal() -> bool:
    """Return whether a view can be drawn: textual reads standard input, and draws on standard error."""
    is_terminal = all(one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr))
    return is_terminal and os.environ.get("TERM", "dumb") != "dumb"


def _view(path: Path, choice: "Choice", *, secrets: bool) -> None:
    from ktpy.cli.watch_feed import WatchFeed
    from ktpy.cli.watch_screen import WatchScreen

    feed = WatchFeed(asking(path, secrets=secrets))
    if error := WatchScreen(feed, choice, secrets=secrets, folder=Path.cwd()).run():
        raise error


def _serve(path: Path, choice: "Choice", output: str, *, secrets: bool) -> None:
    import asyncio
    from urllib.parse import urlencode

    from ktpy.cli.watch_feed import WatchFeed
    from ktpy.cli.watch_page import WatchPage

    async def serve() -> None:
        feed = WatchFeed(asking(path, secrets=secrets))
        page = WatchPage(feed, secrets_shown=secrets)
        async with page.serving() as address:
            url = address + (f"?{urlencode({'filter': words})}" if (words := str(choice)) else "")
            if output == "json":
                render.say_json({"url": url}, indent=None)
            else:
                render.say(f"Open {url} in a browser of this laptop. Ctrl-C ends it.")
            await feed.follow(page.told)
            render.say("The session has ended; the page stays until Ctrl-C.", err=True)
            await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


def asking(path: Path, *, secrets: bool) -> "Ask":
    """Return what asks the session behind `path` for its requests, with their bodies."""
    from ktpy.daemon import control_stream
    from ktpy.inspect.events import decode

    async def ask(verb: str, **more: object) -> "AsyncIterator[WatchEvent]":
        async with aclosing(control_stream.follow(path, verb, bodies=True, secrets=secrets, **more)) as answers:
            async for answer in answers:
                yield decode(answer)

    return ask


def _choice(methods: tuple[str, ...], paths: tuple[str, ...], statuses: tuple[str, ...]) -> "Choice":
    from ktpy.inspect import choice

    return choice.Choice(
        sum(parsed(choice.parse_methods, methods), ()),
        parsed(choice.parse_path, paths),
        sum(parsed(choice.parse_statuses, statuses), ()),
    )


def _session(target: str | None, session: str | None) -> Path:
    """Return the control socket of the only session that is meant."""
    sockets = RuntimeDirectory.of(Caller.become()).control_sockets(INTERCEPT)
    answered, silent = control_client.ask_each(sockets)
    found = [(path, status) for path, status in answered.items() if isinstance(status, InterceptStatus)]
    names = ", ".join(sorted(f"{status.target} (session {status.session})" for _, status in found))
    if not found:
        control_client.refuse_silent(silent)
        raise InterceptAbsent(
            "You have no intercept on this laptop.", hint="ktpy exchange, mesh, preview or tap begins one."
        )
    meant = [
        (path, status)
        for path, status in found
        if (target is None or is_meant(target, status)) and session in (None, status.session)
    ]
    if not meant:
        control_client.refuse_silent(silent)
        wanted = " ".join(
            filter(None, (f"of {target}" if target else "", f"with session {session}" if session else ""))
        )
        raise InterceptAbsent(f"You have no intercept {wanted} on this laptop.", hint=f"You have: {names}.")
    if len(meant) > 1:
        raise click.UsageError(f"Name one by TARGET or --session. You have: {names}.")
    render.say(*(one.message for one in silent.values()), err=True)
    return meant[0][0]


def _watch(path: Path, how: dict[str, bool], choice: "Choice", output: str, har: Path | None, **shown: bool) -> None:
    from ktpy.cli import watched
    from ktpy.inspect.har import har as archive
    from ktpy.inspect.record import WatchedRequest
    from ktpy.inspect.store import RequestStore

    held = RequestStore(ARCHIVE_LIMIT_BYTES)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # that the archive is written then too
    with suppress(KeyboardInterrupt):
        for event in _events(path, "watch", how):
            if isinstance(event, WatchedRequest):
                if not choice.takes(event):
                    continue
                if har:
                    held.keep(event)
            if output == "json":
                _say_json(event, **shown)
            else:
                for line in watched.lines(event, **shown):
                    render.write(line)
        render.say("The session has ended.", err=True)
    if har:
        har.write_text(json.dumps(archive(held, secrets=shown["secrets"]), indent=1) + "\n")
        render.say(f"{len(held)} requests are in {har}.", err=True)


def _replay(path: Path, how: dict[str, Any], output: str, **shown: bool) -> None:
    from ktpy.cli import watched
    from ktpy.inspect.events import ReplayRefused
    from ktpy.inspect.record import WatchedRequest, to_object

    told = list(_events(path, "replay", how))
    if told and isinstance(told[0], ReplayRefused):
        raise UsageError(told[0].reason, hint="ktpy watch shows requests with their ids.")
    first, again = (one for one in told if isinstance(one, WatchedRequest))
    if output == "json":
        objects = [to_object(one, bodies=shown["body"], secrets=shown["secrets"]) for one in (first, again)]
        render.say_json({"kind": "replay", "first": objects[0], "again": objects[1]})
    else:
        for line in watched.compared(first, again, **shown):
            render.write(line)


def _events(path: Path, verb: str, how: dict[str, Any]) -> "Iterator[WatchEvent]":
    from ktpy.inspect.events import decode

    yield from map(decode, control_client.follow(path, verb, **how))


def _say_json(event: "WatchEvent", *, body: bool, secrets: bool, **_: bool) -> None:
    from ktpy.inspect.events import encode

    render.say_json(encode(event, bodies=body, secrets=secrets), indent=None)
