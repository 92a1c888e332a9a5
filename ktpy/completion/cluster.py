"""Asks the kubeconfig and the cluster for names. It is the slow half of completion, so its imports are few."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ktpy.cluster.names import MANAGED_BY, ROLE
from ktpy.cluster.service.reference import Reference
from ktpy.errors import Forbidden, UsageError
from ktpy.kube import kubeconfig as config
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, name_of, spec_of
from ktpy.kube.resources import NAMESPACES, SERVICES
from ktpy.kube.watch import list_all


def ask(what: str, of: str, kubeconfig: str | None, context: str | None, namespace: str | None) -> Any:
    """Return, as JSON, `what` there is `of` something. Raises KtpyError."""
    if what == "contexts":
        return list(config.read(config.paths(kubeconfig))["contexts"])

    async def call() -> Any:
        api = await Api.load(kubeconfig, context, namespace)
        try:
            return await _ASK[what](api, of)
        except Forbidden:
            if what != "namespaces":
                raise
            contexts = config.read(config.paths(kubeconfig))["contexts"].values()
            return [one["namespace"] for one in contexts if one.get("namespace")]
        finally:
            await api.close()

    return asyncio.run(call())


async def _namespaces(api: Api, _of: str) -> list[str]:
    return [name_of(one) async for one in list_all(api, NAMESPACES.path())]


async def _services(api: Api, _of: str) -> dict[str, list[str]]:
    """Return the ports of each Service of the user's, and of each preview."""
    return {
        name_of(one): _ports(one)
        async for one in list_all(api, SERVICES.path(api.namespace))
        if labels_of(one).get(MANAGED_BY) != "ktpy" or labels_of(one).get(ROLE) == "preview"
    }


def _ports(service: Json) -> list[str]:
    """Return the numbers and names of the ports that ktpy carries, as `--expose` takes them."""
    found = []
    for port in spec_of(service).get("ports") or []:
        if (protocol := port.get("protocol", "TCP")) in ("TCP", "UDP"):
            found.append(str(port["port"]) if protocol == "TCP" else f"{port['port']}/udp")
            found += [port["name"]] if port.get("name") else []
    return found


async def _workloads(api: Api, kind: str) -> list[str]:
    """Return the names of a kind that every API server has. Raises UsageError for others."""
    if (resource := Reference.parse(f"{kind}/any").resource) is None:
        raise UsageError(f"{kind} is not looked for.")
    return [
        name_of(one)
        async for one in list_all(api, resource.path(api.namespace))
        if labels_of(one).get(MANAGED_BY) != "ktpy"
    ]


async def _ports_behind(api: Api, target: str) -> list[str]:
    """Return the ports of the Service that leads to KIND/NAME."""
    from ktpy.cluster.service import targets

    return _ports(await targets.find(api, Reference.parse(target)))


async def _headers(api: Api, _of: str) -> list[str]:
    """Return the headers that meshes of the namespace take requests by, as `--header` takes them."""
    from ktpy.cluster.sharing.lease import leases

    live = [one for one in (await leases(api, api.namespace)).values() if not one.is_expired()]
    headers = [header for one in live for header in (one.details.get("match") or {}).get("headers") or []]
    return [f"{one['name']}={one['exact']}" if "exact" in one else f"{one['name']}=~{one['regex']}" for one in headers]


async def _versions(api: Api, of: str) -> list[str]:
    from ktpy.cluster.changes.options import VERSION_HEADER

    named = (header.partition("=") for header in await _headers(api, of))
    return [value for name, _, value in named if name == VERSION_HEADER]


_ASK: dict[str, Callable[[Api, str], Awaitable[Any]]] = {
    "namespaces": _namespaces,
    "services": _services,
    "workloads": _workloads,
    "ports": _ports_behind,
    "headers": _headers,
    "versions": _versions,
}
