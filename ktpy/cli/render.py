"""This module decides how things look on a terminal, and is the only one that writes to it.

Text may come from outside: Leases, API messages, events, pod logs, refusals of a gateway. No control character of it
reaches the terminal, nor a line feed that would forge a line. NO_COLOR (https://no-color.org) turns the colours off.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ktpy.observe.events import Event
    from ktpy.observe.status import (
        CommandStatus,
        ConnectStatus,
        DevStatus,
        ForwardStatus,
        InterceptStatus,
        LinkStatus,
        PortStatus,
        SessionStatus,
    )

RANGES_SHOWN = PROBLEMS_SHOWN = 8
SCHEMA = 1
"""The version of the JSON that commands print. Keys may be added within a version."""
_WAITING = {"to_container": "to go to the container", "to_laptop": "to come to this laptop"}
_SYNC_STATES = {"starting": "not in step yet", "cut": "the link is lost; it goes on when that is back"}
_BLANK = re.compile(r"[\t-\r\x85\u2028\u2029]+")
"""What ends a line, and tabs."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Unicode's category Cc, and the marks that turn the direction of writing or cannot be seen."""


def clean(text: object) -> str:
    """Return the text in one line, with a visible mark for each control character."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BLANK.sub(" ", str(text)))


def say(*lines: str, err: bool = False) -> None:
    """Print lines of plain text."""
    for line in lines:
        write(clean(line), err=err)


def write(styled: str, *, err: bool = False, file: IO[str] | None = None) -> None:
    """Print what is clean already, and may have colours."""
    click.echo(styled, file=file, err=err, color=False if os.environ.get("NO_COLOR") else None)


def raw(texts: Iterable[str], *, is_terminal: bool) -> None:
    """Print each text and a line feed, byte for byte; a terminal gets no other control characters than line feeds."""
    for text in texts:
        shown = "\n".join(map(clean, text.split("\n"))) if is_terminal else text
        click.echo(shown.encode(errors="surrogateescape"))


def say_json(value: Mapping[str, Any], *, err: bool = False, indent: int | None = 2) -> None:
    """Print an object as JSON, with the version of its schema; where a program has begun this session, tell it that."""
    from ktpy.daemon.parent import tell  # here: `ktpy --help` need not wait for it

    told = {"schema": SCHEMA, **value}
    line = json.dumps(told)
    if not tell(line):
        click.echo(line if indent is None else json.dumps(told, indent=indent), err=err)


def event_json(event: "Event", *, err: bool = False) -> None:
    """Print an event as a line of JSON."""
    from ktpy.observe.events import to_object  # here, and below: `ktpy --help` need not wait for it

    say_json(to_object(event), err=err, indent=None)


def event(event: "Event", *, err: bool = False, farewell: str | None = None) -> None:
    """Print one line of progress as it happens, and what the user needs to know once the session is ready.

    `err` says it on standard error; `farewell` is how a session that is ready is ended.
    """
    from ktpy.observe.events import Ended, LinkBack, LinkDown, Notice, PortsChanged, Ready, StartStep

    match event:
        case StartStep(name, detail, elapsed_s):
            mark = click.style(f"{clean(name):<9}", fg="green")
            write(f"  {mark} {clean(detail)} {click.style(f'({elapsed_s:.2f} s)', dim=True)}", err=err)
        case Notice(text):
            write(note(text), err=err)
        case Ready(session):
            for line in ready(session, farewell):
                write(line, err=err)
        case LinkDown(reason):
            write(f"  {click.style('lost     ', fg='yellow')} {clean(reason)} ktpy reconnects.", err=err)
        case LinkBack(pod, after_s, losses):
            times = f", lost {losses} times so far" if losses > 1 else ""
            write(f"  {click.style('back     ', fg='green')} after {after_s:.1f} s, by {clean(pod)}{times}", err=err)
        case PortsChanged():
            pass  # ktpy.cli.live shows it
        case Ended(_, message, hint, is_error):
            if is_error:
                failure(message, hint)
            else:
                say(message, err=err)


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns stand below each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def note(text: str) -> str:
    """Return a remark as a line."""
    return f"  {click.style('note     ', fg='yellow')} {clean(text)}"


def connection(output: str, end: str, *, has_command: bool) -> "Callable[[Event], None]":
    """Return what shows the events of a session that connects, and that `end` ends.

    Its standard output is its command's, where it has one, and the shell's that evaluates `env`.
    """
    from ktpy.observe.events import Ready
    from ktpy.observe.status import ConnectStatus

    err = output == "env" or has_command

    def show(told: "Event") -> None:
        if output == "json":
            event_json(told, err=err)
            return
        if output == "env" and isinstance(told, Ready) and isinstance(told.status, ConnectStatus):
            exports(told.status)
        event(told, farewell=f"{end} ends it and undoes everything.", err=err)

    return show


def exports(session: "ConnectStatus") -> None:
    """Print what a shell evaluates, so that the programs it starts use the proxy, or the ports that are forwarded."""
    for name, value in session.environment.items():
        write(f"export {name}={shlex.quote(clean(value))}")


def on_error_output(told: "Event") -> None:
    """Print an event to standard error, for commands whose standard output is their answer."""
    event(told, err=True)


def condition(session: Mapping[str, Any]) -> str:
    """Say in parentheses what is wrong with a session that intercepts; nothing where all is well."""
    if not session["is_live"]:
        return " (dead; ktpy clean removes it)"
    down = ", ".join(session["local_down"])
    return f" (nothing answers on the laptop for port {down})" if down else ""


def developed(session: Mapping[str, Any]) -> str:
    """Say in a line who develops what."""
    state = f"since {session['since']}" if session["is_live"] else "dead; ktpy clean gives it back"
    beside = " beside it" if session["mode"] == "duplicate" else ""
    return f"{session['workload']} ({session['container']}): developed by {session['owner']}{beside}, {state}"


def sync(state: Mapping[str, Any]) -> list[str]:
    """Say in lines how far a folder of the laptop and one of the container are alike; nothing where there is none."""
    if not state:
        return []
    told = [f"{state['entries']} files, folders and links alike"]
    told += [f"{count} {where}" for key, where in _WAITING.items() if (count := state[key])]
    if copies := state["conflicts"]:
        told.append(f"{copies} conflict cop{'y' if copies == 1 else 'ies'} (*.conflict-container-*)")
    where = f"{state['local']} {'and' if state['is_two_way'] else 'to'} {state['remote']}"
    problems = [f"{one['path']}: {one['text']}" for one in state["problems"][:PROBLEMS_SHOWN]]
    if (more := len(state["problems"]) - PROBLEMS_SHOWN) > 0:
        problems.append(f"and {more} more (see --output json)")
    texts = [f"{where}: {_SYNC_STATES.get(word := state['state'], word)}", ", ".join(told), *problems]
    if not problems and state["last_error"]:
        texts.append(f"done since: {state['last_error']}")
    return [f"  {'' if i else 'sync':<9} {text}" for i, text in enumerate(texts)]


def volume(one: Mapping[str, Any]) -> str:
    """Say in a line whose persistent directory it is, and where it is kept."""
    kept = f"{one['size']} in claim {one['claim']}, {one['phase'].lower()}"
    return f"{one['workload']} ({one['container']}): {one['path']} of {one['owner']}, {kept}"


def on_standard_error(text: str) -> None:
    say(text, err=True)


def failure(message: str, hint: str | None) -> None:
    """Print an error: the sentence, then what to do next."""
    write(f"{click.style('error:', fg='red', bold=True)} {clean(message)}", err=True)
    for number, line in enumerate((hint or "").splitlines()):
        write(f"{'      ' if number else click.style('hint:', bold=True) + ' '}{clean(line)}", err=True)


def ready(session: "SessionStatus", farewell: str | None, *, with_ports: bool = True) -> list[str]:
    """Return what is shown when a session stands: what it is, a line to try, and how it is ended."""
    from ktpy.observe.status import CommandStatus, ConnectStatus, DevStatus

    if isinstance(session, CommandStatus):
        return [_command(session)]
    if isinstance(session, DevStatus):
        return _developed(session)
    if isinstance(session, ConnectStatus):
        lines = [_connected_head(session), *_proxy_lines(session), *map(forward, session.forwards)]
    else:
        lines = [_intercepted_head(session), *(map(port, session.ports) if with_ports else ())]
    lines += _end(session)
    if session.try_command:
        lines.append(f"  {'try':<9} {clean(session.try_command)}")
    return [*lines, *([clean(farewell)] if farewell else [])]


def status(session: "SessionStatus") -> str:
    """Return a session as text."""
    from ktpy.observe.status import CommandStatus, ConnectStatus, DevStatus

    if isinstance(session, CommandStatus):
        return _command(session)
    if isinstance(session, ConnectStatus):
        return "\n".join([_connected(session), *_end(session)])
    if isinstance(session, DevStatus):
        return "\n".join(_developed(session))
    return "\n".join([_intercepted_head(session), *map(port, session.ports), *_end(session)])


def _developed(session: "DevStatus") -> list[str]:
    from dataclasses import asdict

    what = click.style(f"dev of {clean(session.reference)}", fg="green", bold=True)
    lines = [f"{what} in namespace {clean(session.namespace)} of {clean(session.context)}"]
    lines += map(clean, sync(asdict(session.sync)) if session.sync else ())
    return [*lines, f"  {'up':<9} {session.uptime_s:.0f} s, process {session.pid}"]


def _command(session: "CommandStatus") -> str:
    what = click.style(f"command {clean(session.reference)}", fg="green", bold=True)
    return f"{what}: {clean(shlex.join(session.words))}, process {session.process}, up {session.uptime_s:.0f} s"


def _end(session: "SessionStatus") -> list[str]:
    if (left_s := session.ends_in_s) is None:
        return []
    return [f"  {'ends':<9} by itself in " + (f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} minutes")]


def port(state: "PortStatus") -> str:
    """Return an exposed port of an intercept in a line."""
    local = click.style("up", fg="green") if state.is_local_up else click.style(clean(state.local_state), fg="red")
    what = "datagram" if state.protocol == "UDP" else "request"
    requests = f"{state.requests} {what}{'' if state.requests == 1 else 's'}"
    counts = f"{requests} here" + (f", {state.fallbacks} elsewhere" if state.fallbacks else "")
    for count, word in ((state.waiting, "waiting"), (state.dropped, "dropped"), (state.skipped, "skipped")):
        counts += f", {count} {word}" if count else ""
    if not state.requests and state.passed is not None:
        counts += f", {state.passed or 'none'} passed the gateway"
    if state.shortcuts:
        counts += f", {state.shortcuts} connection{'' if state.shortcuts == 1 else 's'} past the cluster"
    where = f"port {state.local_port} of {clean(state.local_host)}" if state.local_host else None
    number = f"{state.port}/UDP" if state.protocol == "UDP" else str(state.port)
    return f"  port {number:<5} to {where or f'local port {state.local_port:<5}'} ({local}): {counts}"


def forward(one: "ForwardStatus") -> str:
    """Return a port of the cluster that is one of this laptop's in a line."""
    number = f"{one.port}/UDP" if one.protocol == "UDP" else str(one.port)
    return f"  127.0.0.1:{one.local_port:<5} to port {number} of {clean(one.target)}"


def _proxy_lines(session: "ConnectStatus") -> list[str]:
    if session.proxy is None:
        return []
    environment = session.proxy.environment
    socks, http = environment["ALL_PROXY"], environment["HTTP_PROXY"]
    return [f"  {'proxy':<9} {clean(socks)} or {clean(http)}", f"  {'browsers':<9} {clean(session.proxy.pac)}"]


def _intercepted_head(session: "InterceptStatus") -> str:
    requests = f", only requests with {clean(session.match_words)}" if session.match_words else ""
    if (percent := session.copied_percent) is not None:
        words = f" with {clean(session.match_words)}" if session.match_words else ""
        requests = f", copies of {'all' if percent == 100 else f'{percent} % of the'} requests{words}"
    fates = {"wait": ", which wait for the local port", "fail": ", which fail while the local port is down"}
    if fate := fates.get(session.when_local_down):
        requests = (requests or ", all requests") + fate
    if session.hosts:
        requests += f", from outside as {clean(', '.join(session.hosts))}"
    what = click.style(f"{session.kind} of {clean(session.target)}", fg="green", bold=True)
    return f"{what} in namespace {clean(session.namespace)} of {clean(session.context)}{requests}"


def _connected_head(session: "ConnectStatus") -> str:
    word, colour = ("reconnecting", "yellow") if session.state == "reconnecting" else ("connected", "green")
    return (
        f"{click.style(word, fg=colour, bold=True)} to {clean(session.context)} ({clean(session.server)}), "
        f"namespace {clean(session.namespace)}{f', as {clean(session.name)}' if session.name else ''}"
    )


def _connected(session: "ConnectStatus") -> str:
    dns = session.dns
    ranges = [
        f"{one.network}{f' as {one.stand_in}' if one.stand_in else ''} ({one.kind}, from {one.source})"
        for one in session.ranges[:RANGES_SHOWN]
    ]
    if len(session.ranges) > RANGES_SHOWN:
        ranges.append(f"and {len(session.ranges) - RANGES_SHOWN} more (see --output json)")
    zones = ", ".join([dns.cluster_domain, *session.dns_zones]) if dns else ""
    names = [f"names of {zones} by {dns.resolver}"] if dns else ["off"]
    if dns and dns.search:
        names.append(f"search {' '.join(dns.search)}")
    amounts = f"{amount(session.bytes.in_)} in, {amount(session.bytes.out)} out, {session.open_flows} open flows"
    rows = [
        ("pod", [str(session.pod)]),
        *([("via", [f"{session.via}, past the API server"])] if session.via else []),
        *([("link", [_link(session.link)])] if session.link.losses else []),
        *([("kept", [_kept(counted)])] if session.link.losses and (counted := session.counters.get("kept")) else []),
        ("ranges", ranges or ["none"]),
        *([("excluded", [", ".join(session.excluded)])] if session.excluded else []),
        *([("note", list(session.notes))] if session.notes else []),
        ("dns", names),
        ("traffic", [amounts]),
        *([("udp", [_datagrams(session, counted)])] if (counted := session.counters.get("datagrams")) else []),
        *([("shortcuts", [_shortcuts(counted)])] if (counted := session.counters.get("local_shortcuts")) else []),
        ("up", [f"{session.uptime_s:.0f} s, process {session.pid}"]),
    ]
    lines = [f"  {title if i == 0 else '':<9} {clean(text)}" for title, texts in rows for i, text in enumerate(texts)]
    return "\n".join([_connected_head(session), *_proxy_lines(session), *map(forward, session.forwards), *lines])


def _link(link: "LinkStatus") -> str:
    times = "once" if link.losses == 1 else f"{link.losses} times"
    if link.is_up:
        return f"up again for {link.for_s:.0f} s, lost {times}: {link.reason}"
    return f"lost for {link.for_s:.0f} s, {times} so far; ktpy reconnects: {link.reason}"


def _kept(counted: Mapping[str, int]) -> str:
    return f"{counted['kept']} connections lived through it, {counted['lost']} were reset"


def _datagrams(session: "ConnectStatus", counted: Mapping[str, int]) -> str:
    lost = sum(counted.get(name, 0) for name in ("lost", "lost_in_pod", "full", "unreachable"))
    return f"{counted['received']} in, {counted['sent']} out, {lost} lost, {session.datagram_flows} open flows"


def _shortcuts(counted: Mapping[str, int]) -> str:
    count = counted["connections"]
    return f"{count} connection{'' if count == 1 else 's'} went to your own intercepts, past the cluster"


def amount(count_bytes: float) -> str:
    """Return a number of bytes with the unit that suits: 512 B, 1.2 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"
