"""What leads requests for a host from outside the cluster to a preview: an Ingress, or an HTTPRoute."""

from typing import Protocol

from ktpy.cluster.changes.http_route import HttpRoute
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.errors import Forbidden, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of
from ktpy.kube.resources import INGRESS_CLASSES, INGRESSES, Resource

_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


class HostRoute(Protocol):
    """A HostRoute is one object that a preview makes beside its Service, under the same name."""

    name: str
    """As the steps of the change call it."""
    server: str
    """What serves it, and is to be chosen."""
    resource: Resource
    notices: list[str]
    """What the user should know once the preview stands."""

    async def choose(self) -> bool:
        """Choose what serves it; False when the cluster does. Raises TargetUnsuitable where nothing would."""

    def document(self, metadata: Json, port: int) -> Json:
        """Make the manifest that leads to this port of the Service of the same name."""

    async def settle(self, path: str) -> bool:
        """Wait until it is in effect; False when nobody says so. Raises TargetUnsuitable when it will not be."""


class Ingress:
    """An Ingress is that of one preview, and the choice of its class."""

    name, server, resource = "ingress", "ingress class", INGRESSES

    def __init__(self, api: Api, host: str, wanted: str | None) -> None:
        """`wanted` is the class that the user named."""
        self._api, self._host, self._class = api, host, wanted
        self.notices: list[str] = []

    async def choose(self) -> bool:
        """Choose the only class where there is no default, or leave it to a cluster whose classes may not be seen.

        Raises TargetUnsuitable when there is no class, or several without a default.
        """
        if self._class is None:
            self._class = await self._only_class()
            return True
        return False

    def document(self, metadata: Json, port: int) -> Json:
        """Make the manifest; without a class the cluster's default one takes it."""
        backend = {"service": {"name": metadata["name"], "port": {"number": port}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": {
                **({"ingressClassName": self._class} if self._class else {}),
                "rules": [{"host": self._host, "http": {"paths": [path]}}],
            },
        }

    async def settle(self, path: str) -> bool:  # noqa: ARG002 - an Ingress has no condition that says so
        return False

    async def _only_class(self) -> str | None:
        try:
            answer = await self._api.request("GET", INGRESS_CLASSES.path())
        except Forbidden:
            return None
        classes: list[Json] = answer.get("items") or []
        if any(annotations_of(one).get(_DEFAULT_CLASS) == "true" for one in classes):
            return None
        if not classes:
            raise TargetUnsuitable(
                "The cluster has no ingress class, so nothing would serve an ingress.",
                hint="Install an ingress controller, or leave out --ingress.",
            )
        known = sorted(str(one["metadata"]["name"]) for one in classes)
        if len(known) > 1:
            raise TargetUnsuitable(
                f"The cluster has several ingress classes and no default: {', '.join(known)}.",
                hint="Name one with --ingress-class.",
            )
        return known[0]


def host_routes(api: Api, options: InterceptOptions) -> tuple[HostRoute, ...]:
    """Return those that the user asks for."""
    routes: list[HostRoute] = []
    if options.ingress_host is not None:
        routes.append(Ingress(api, options.ingress_host, options.ingress_class))
    if options.gateway_route_host is not None:
        routes.append(HttpRoute(api, options.gateway_route_host, options.gateway))
    return tuple(routes)


KINDS: tuple[type[Ingress] | type[HttpRoute], ...] = (Ingress, HttpRoute)
"""All that a preview may have made."""
