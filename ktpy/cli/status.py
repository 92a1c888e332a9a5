"""`ktpy status` shows what is connected."""

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ktpy.cli import render
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import EndedSession, ended_sessions
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import NotConnected
from ktpy.observe.codec import to_json

if TYPE_CHECKING:
    from ktpy.observe.status import SessionStatus


@click.command()
@output
@verbose
def status(output: str) -> None:
    """Show the sessions of this user: cluster, ranges, DNS, pod, traffic, and how those in the background ended.

    It ends with code 36 where no session runs.

    \b
    ktpy status --output json
    """
    from ktpy.daemon import privileged  # not every system has what it needs

    privileged.undo_stale_journals_unasked(render.on_standard_error)
    runtime = RuntimeDirectory.of(Caller.become())
    answered, silent = control_client.ask_each(runtime.control_sockets())
    sessions = list(answered.values())
    # One that does not answer has not ended, though it is not among those that run.
    ended = [one for one in ended_sessions(runtime, sessions) if one.ended or not silent]
    if output == "json":
        render.say_json(_data(sessions, ended))
    else:
        for session in sessions:
            render.write(render.status(session))
        render.say(*map(_ended_text, ended))
        if not any(map(_is_connection, sessions)) and not silent:
            render.say("Not connected. `sudo ktpy connect` connects.")
    control_client.refuse_silent(silent)
    if not sessions:
        sys.exit(NotConnected.exit_code)


def data(runtime: RuntimeDirectory) -> dict[str, Any]:
    """Return what `--output json` prints of the sessions that answer."""
    answered, _ = control_client.ask_each(runtime.control_sockets())
    return _data(list(answered.values()), ended_sessions(runtime, answered.values()))


def _data(sessions: "list[SessionStatus]", ended: list[EndedSession]) -> dict[str, Any]:
    return {"sessions": list(map(to_json, sessions)), "ended": list(map(_ended_json, ended))}


def _is_connection(session: "SessionStatus") -> bool:
    from ktpy.observe.status import ConnectStatus

    return isinstance(session, ConnectStatus)


def _ended_text(session: EndedSession) -> str:
    at = time.strftime("%H:%M", time.localtime(session.at_s))
    how = f"ended {at} with code {session.ended.exit_code}: {session.ended.message}" if session.ended else "was killed."
    return f"{session.name} {how} `ktpy logs {session.name}` shows more."


def _ended_json(session: EndedSession) -> dict[str, Any]:
    how = asdict(session.ended) if session.ended else {"exit_code": None, "message": None, "hint": None}
    return {"name": session.name, "at_s": round(session.at_s, 3), **how}
