"""`ktpy report`: what a bug report needs, in one file without anybody's names. Nothing is sent."""

import asyncio
import json
import os
import platform
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ktpy import __version__
from ktpy.cluster.names import shadow_name
from ktpy.cluster.service.reference import KNOWN as WORKLOADS
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import logs
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.doctor.anonymous import Anonymiser
from ktpy.errors import Forbidden, KtpyError
from ktpy.kube import kubeconfig
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, name_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import NAMESPACES, NODES, SERVICES
from ktpy.kube.watch import list_all
from ktpy.sessions import doctor
from ktpy.sessions.once import ClusterRef, services
from ktpy.sessions.options import ConnectOptions

LOG_LINES: Final = 2000
"""Of each log the last ones."""
HOLDS: Final = {"doctor": "findings", "status": "sessions", "list": "services", "logs": "sessions"}
"""The parts of a report, and the key of each for what it has several of; a part that cannot be had has `error`."""
_OWN: Final = shadow_name("")
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
_KINDS: Final = {
    "namespace": "namespace",
    "context": "context",
    "owner": "user",
    "server": "host",
    "reference": "service",
    "target": "service",
    "workload": "service",
    "local_host": "host",
    "dns_zones": "host",
    "via": "host",
    "match_words": "mark",
    "exact": "mark",
    "regex": "mark",
    "path_prefix": "mark",
}
"""Keys of what ktpy tells, and what their values are."""

Word = tuple[str, str]


def make(options: ConnectOptions, caller: Caller, status: Callable[[], Json]) -> tuple[Json, Counter[str]]:
    """Return the report, and how many names of each kind have a stand-in. `status` tells of this user's sessions.

    What cannot be had is told in its place. Nothing is changed.
    """
    place = ClusterRef(options.kubeconfig, options.context, options.namespace)
    told = {
        "doctor": _part(lambda: {"findings": [one.data() for one in doctor.look(options, (), lambda _: None)]}),
        "status": _part(status),
        "list": _part(lambda: services(place)),
        "logs": _part(lambda: {"sessions": _logs(RuntimeDirectory.of(caller))}),
    }
    words = [*_of_laptop(caller), *_of_kubeconfig(options.kubeconfig), *_of_cluster(place), *_told(told)]
    anonymiser = Anonymiser(words)
    system = {"python": platform.python_version(), "kernel": platform.release(), "machine": platform.machine()}
    return anonymiser.value({"ktpy": __version__, **system, **told}), anonymiser.counts


def _part(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except KtpyError as error:
        return {"error": error.message, "hint": error.hint}
    except Exception as error:  # it may be the bug that is reported
        return {"error": repr(error), "hint": None}


def _logs(runtime: RuntimeDirectory) -> list[Json]:
    return [{"name": name, "lines": _lines(path)} for name, path in logs(runtime).items()]


def _lines(log: Path) -> list[Any]:
    """Return the last lines, those that are events as objects."""
    lines: list[Any] = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    for number, line in enumerate(lines):
        with suppress(ValueError, RecursionError):
            lines[number] = json.loads(line)
    return lines


def _of_laptop(caller: Caller) -> Iterator[Word]:
    yield "user", caller.name
    yield "home", str(caller.home) if len(caller.home.parts) > 1 else ""
    host = socket.gethostname()
    yield from (("host", name) for name in (host, host.partition(".")[0]))
    yield from (("host", _host_of(os.environ.get(name, ""))) for name in _PROXIES)


def _of_kubeconfig(given: str | None) -> Iterator[Word]:
    """Yield all that the files name, not only the context that was asked for; and every secret as it is written."""
    try:
        files = kubeconfig.paths(given)
        merged = kubeconfig.read(files)
    except KtpyError:
        return
    yield from (("file", file.stem) for file in files)
    yield from (("context", name) for name in merged["contexts"])
    yield from (("namespace", str(one.get("namespace") or "")) for one in merged["contexts"].values())
    for name, cluster in merged["clusters"].items():
        yield "cluster", name
        yield from (("host", _host_of(str(cluster.get(key) or ""))) for key in ("server", "proxy-url"))
        yield "host", str(cluster.get("tls-server-name") or "")
    for name, user in merged["users"].items():
        yield "user", name
        yield from (("secret", text) for key in user.keys() - {"exec"} for text in _texts(user[key]))
        plugin = user.get("exec") or {}
        yield from (("secret", text) for text in _texts(plugin.get("env")))
        arguments = _texts(plugin.get("args"))
        yield from (("secret", one.partition("=")[2] if one.startswith("-") else one) for one in arguments)


def _of_cluster(place: ClusterRef) -> list[Word]:
    """Return the names of what messages tell of. What this user may not list, they hardly know."""

    async def look(api: Api) -> list[Word]:
        async def listed(kind: str, path: str) -> list[Word]:
            try:
                names = [name_of(one) async for one in list_all(api, path)]
            except (Forbidden, NotFound):
                return []
            return [(kind, name) for name in names if not name.startswith(_OWN)]

        paths = [("node", NODES.path()), ("namespace", NAMESPACES.path()), ("service", SERVICES.path(api.namespace))]
        paths += [(kind, resource.path(api.namespace)) for kind, resource in WORKLOADS.items()]
        return [word for words in await asyncio.gather(*(listed(*one) for one in paths)) for word in words]

    found = _part(lambda: place.run(look))
    return found if isinstance(found, list) else []  # what went wrong `doctor` tells


def _told(told: Any, key: str = "") -> Iterator[Word]:
    """Yield the words in what ktpy tells, by the keys that they have there."""
    match told:
        case dict():
            for inner, value in told.items():
                yield from _told(value, inner)
            if key == "baggage":
                yield from (("mark", str(text)) for item in told.items() for text in item)
        case list() | tuple():
            for value in told:
                yield from _told(value, key)
        case str():
            yield from (("node", name) for name in re.findall(r"scheduled on (\S+)", told))
            yield from (("host", _host_of(url)) for url in re.findall(r"https?://\S+", told))
            if kind := _KINDS.get(key):
                words = [_host_of(told)] if kind == "host" else told.split("@") if kind == "user" else [told]
                yield from ((kind, word.rpartition("/")[2] if kind == "service" else word) for word in words)


def _host_of(url: str) -> str:
    """Return the host of a URL, or of HOST:PORT; empty for an address, which is judged where it is found."""
    with suppress(ValueError):
        host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
        try:
            ip_address(host)
        except ValueError:
            return host
    return ""


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for one in value.values():
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)
