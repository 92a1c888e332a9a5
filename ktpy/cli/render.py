"""This module decides how things look on a terminal. click drops the colours where the output is none."""

import click

from ktpy.observe.events import Ended, Event, Notice, PortsChanged, Ready, StartStep
from ktpy.observe.status import ConnectStatus, InterceptStatus, PortStatus, SessionStatus

RANGES_SHOWN = 8


def event(event: Event, *, err: bool = False) -> None:
    """Print one line of progress as it happens, and everything the user needs to know once the session is ready.

    `err` says it on standard error.
    """
    match event:
        case StartStep(name, detail, elapsed_s):
            mark = click.style(f"{name:<9}", fg="green")
            click.echo(f"  {mark} {detail} {click.style(f'({elapsed_s:.2f} s)', dim=True)}", err=err)
        case Notice(text):
            click.echo(f"  {click.style('note     ', fg='yellow')} {text}", err=err)
        case Ready(session):
            click.echo(status(session), err=err)
        case PortsChanged():
            pass  # ktpy.cli.live shows it
        case Ended(_, message, hint, is_error):
            if is_error:
                failure(message, hint)
            else:
                click.echo(message, err=err)


def on_error_output(told: Event) -> None:
    """Print an event to standard error, for commands whose standard output is their answer."""
    event(told, err=True)


def say(*lines: str, err: bool = False) -> None:
    """Print lines whose text may come from outside."""
    for line in lines:
        click.echo(line, err=err)


def on_standard_error(text: str) -> None:
    say(text, err=True)


def failure(message: str, hint: str | None) -> None:
    """Print an error: the sentence, then what to do next."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        first, *rest = hint.splitlines()
        click.echo(
            "\n".join([f"{click.style('hint:', bold=True)} {first}", *(f"      {line}" for line in rest)]), err=True
        )


def status(session: SessionStatus) -> str:
    """Return a session as text."""
    return _connected(session) if isinstance(session, ConnectStatus) else _intercepted(session)


def port(state: PortStatus) -> str:
    """Return an exposed port of an intercept in a line."""
    local = click.style("up", fg="green") if state.is_local_up else click.style(state.local_state, fg="red")
    counts = f"{state.requests} requests here" + (f", {state.fallbacks} elsewhere" if state.fallbacks else "")
    return f"  port {state.port:<5} to local port {state.local_port:<5} ({local}): {counts}"


def _intercepted(session: InterceptStatus) -> str:
    match = f", only requests with {session.match}" if session.match else ""
    verb = click.style(f"{session.kind.removesuffix('e')}ed", fg="green", bold=True)  # exchanged, meshed, previewed
    head = f"{verb} {session.target} in namespace {session.namespace} of {session.context}{match}"
    return "\n".join([head, *map(port, session.ports)])


def _connected(session: ConnectStatus) -> str:
    dns = session.dns
    ranges = [f"{one.network} ({one.kind}, from {one.source})" for one in session.ranges[:RANGES_SHOWN]]
    if len(session.ranges) > RANGES_SHOWN:
        ranges.append(f"and {len(session.ranges) - RANGES_SHOWN} more (see --output json)")
    names = [f"names of {dns.cluster_domain} by {dns.resolver}", f"search {' '.join(dns.search)}"] if dns else ["off"]
    amounts = f"{_size(session.bytes.in_)} in, {_size(session.bytes.out)} out, {session.open_flows} open flows"
    rows = [
        ("namespace", [session.namespace]),
        ("pod", [str(session.pod)]),
        ("ranges", ranges or ["none"]),
        ("dns", names),
        ("traffic", [amounts]),
        ("up", [f"{session.uptime_s:.0f} s, process {session.pid}"]),
    ]
    head = f"{click.style('connected', fg='green', bold=True)} to {session.context} ({session.server})"
    lines = [f"  {title if i == 0 else '':<9} {text}" for title, texts in rows for i, text in enumerate(texts)]
    return "\n".join([head, *lines])


def _size(count_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"
