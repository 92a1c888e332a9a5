"""The names that are offered, by what they are of. Finding them takes bounded time, and is silent on failure."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ktpy.completion import cache

PATIENCE_S = 2.0
"""Finding names takes no longer."""
MAX_AGE_S = 10.0
"""Names of the cluster are offered that were asked for so long ago, but none that are older."""
_MOST_LISTS = 12
_SAFE = re.compile(r"[\w.:@/=,+%-]+")
"""What a shell takes as it is; other names are not offered."""
_KINDS = ("cronjob", "daemonset", "deployment", "job", "pod", "replicaset", "replicationcontroller", "statefulset")
_NUMBER_BEFORE = re.compile(r"(?:.*[:,])?\d+:")

Given = Mapping[str, str]
"""The options and arguments that are typed so far."""


def offered(kind: str, typed: str, given: Given) -> list[str]:
    """Return the names of a kind that begin with what is typed; those that end with a slash are half of one."""
    try:
        with _in_time():
            found = set(_FINDERS[kind](typed, given))
    except Exception:
        return []
    return sorted(name for name in found if name.startswith(typed) and _SAFE.fullmatch(name))


@contextmanager
def _in_time() -> Iterator[None]:
    """Raise TimeoutError in the block after PATIENCE_S."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _listed(what: str, given: Given, of: str = "") -> Any:
    """Return what `cluster.ask` does, or did not long ago; None where it failed."""
    place = {name: given.get(name) for name in ("kubeconfig", "context", "namespace")}

    def ask() -> Any:
        from ktpy.completion import cluster  # brings asyncio and the client

        try:
            return cluster.ask(what, of, **place)
        except Exception:
            return None  # kept as well: the next Tab need not wait for a cluster that is away

    files = (place["kubeconfig"] or os.environ.get("KUBECONFIG") or "~/.kube/config").split(":")
    key = json.dumps([what, of, place, cache.stamps(filter(None, files))])
    return cache.kept("names.json", key, ask, most=_MOST_LISTS, max_age_s=MAX_AGE_S)


def _of_place(kind: str) -> Callable[[str, Given], Iterable[str]]:
    return lambda _, given: _listed(kind, given)


def _targets(typed: str, given: Given) -> Iterable[str]:
    """Yield services, and once something is typed KIND/, and what there is of the kind."""
    kind, is_kind, _ = typed.rpartition("/")
    if is_kind:
        return [f"{kind}/{name}" for name in _listed("workloads", given, kind)]
    return [*_listed("services", given), *(f"{one}/" for one in _KINDS if typed)]


def _ports(typed: str, given: Given) -> Iterable[str]:
    """Yield [LOCAL:]PORT with each port of the service that is given, after what is typed of it, or of others."""
    target = given.get("service") or given.get("target") or given.get("workload") or ""
    before = typed[: max(typed.rfind(":"), typed.rfind(",")) + 1]
    if "/" in target:
        ports = _listed("ports", given, target)
    else:
        name, _, domain = target.partition(".")
        namespace = domain.partition(".")[0]
        ports = _listed("services", {**given, "namespace": namespace} if namespace else given)[name]
    return [before + port for port in ports]


def _exposed(typed: str, given: Given) -> Iterable[str]:
    """Yield LOCAL:PORT once LOCAL is typed, which is for the user to say."""
    return _ports(typed, given) if _NUMBER_BEFORE.match(typed) else []


def _sessions(*kinds: str) -> Callable[[str, Given], Iterable[str]]:
    """Return what finds the sessions of this user, by what `ktpy leave` ends them by."""

    def find(_typed: str, _given: Given) -> Iterable[str]:
        from ktpy.daemon import control_client

        sockets = [path for kind in kinds for path in _runtime().control_sockets(kind)]
        told = [control_client.ask(path, "status") for path in sockets]
        return [one.get("target") or one.get("reference") or one["kind"] for one in told]

    return find


def _logs(_typed: str, _given: Given) -> Iterable[str]:
    from ktpy.daemon.logs import logs

    return logs(_runtime())


def _runtime() -> Any:
    from ktpy.daemon.caller import Caller
    from ktpy.daemon.runtime import RuntimeDirectory

    return RuntimeDirectory.of(Caller.current())  # who came from sudo is the caller already


_FINDERS: Mapping[str, Callable[[str, Given], Iterable[str]]] = {
    **{kind: _of_place(kind) for kind in ("contexts", "namespaces", "services", "headers", "versions")},
    "targets": _targets,
    "ports": _ports,
    "exposed": _exposed,
    "intercepts": _sessions("intercept"),
    "sessions": _sessions("intercept", "forward"),
    "logs": _logs,
}
