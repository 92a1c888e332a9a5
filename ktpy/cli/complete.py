"""Completion of names: of services, namespaces, contexts and sessions. It is short in time, and silent on failure."""

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

PATIENCE_S = 2
_NAME = re.compile(r"[\w.:@/-]+")
"""What a shell takes as it is; other names are not offered."""

Find = Callable[[dict[str, Any]], Iterable[str]]
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completing(find: Find) -> Complete:
    """Return what click asks: the names that begin with what is typed."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            with _in_time():
                names = sorted(find(ctx.params))
        except Exception:
            return []
        return [name for name in names if name.startswith(incomplete) and _NAME.fullmatch(name)]

    return complete


@contextmanager
def _in_time() -> Iterator[None]:
    """Raise TimeoutError in the block after PATIENCE_S."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _contexts(params: dict[str, Any]) -> Iterable[str]:
    from ktpy.sessions import once

    return once.contexts(params.get("kubeconfig"))


def _names(resource: str) -> Find:
    def find(params: dict[str, Any]) -> Iterable[str]:
        from ktpy.daemon.caller import Caller
        from ktpy.sessions import once

        Caller.become()
        place = once.ClusterRef(**{key: params.get(key) for key in ("kubeconfig", "context", "namespace")})
        return once.names(place, resource)

    return find


def _sessions(_params: dict[str, Any]) -> Iterable[str]:
    from ktpy.daemon import control_client
    from ktpy.daemon.caller import Caller
    from ktpy.daemon.logs import log_name
    from ktpy.daemon.runtime import FORWARD, INTERCEPT, RuntimeDirectory
    from ktpy.observe.status import InterceptStatus

    runtime = RuntimeDirectory.of(Caller.become())
    found = [control_client.ask_status(path) for kind in (INTERCEPT, FORWARD) for path in runtime.control_sockets(kind)]
    return {one.target if isinstance(one, InterceptStatus) else one.reference or log_name(one) for one in found}


def _logs(_params: dict[str, Any]) -> Iterable[str]:
    from ktpy.daemon.caller import Caller
    from ktpy.daemon.logs import logs
    from ktpy.daemon.runtime import RuntimeDirectory

    return logs(RuntimeDirectory.of(Caller.become()))


context_names = _completing(_contexts)
namespace_names = _completing(_names("namespaces"))
service_names = _completing(_names("services"))
session_names = _completing(_sessions)
log_names = _completing(_logs)
