"""The HTTPRoute by which a Gateway of the Gateway API leads a host's requests to a preview (`--gateway-route`)."""

from typing import Final

from ktpy.aio.poll import poll_until
from ktpy.cluster.service import gateway_api
from ktpy.errors import Forbidden, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, conditions_of, labels_of, status_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import GATEWAYS, HTTP_ROUTES, NAMESPACES
from ktpy.kube.watch import list_all

TAKEN_WITHIN_S = 10.0
"""How long the Gateway's controller has to say that it takes the route."""
_TAKEN: Final = ("Accepted", "ResolvedRefs")
"""The conditions that a controller sets for each parent of a route (Gateway API, RouteConditionType)."""


class HttpRoute:
    """An HttpRoute is that of one preview, and the choice of its Gateway."""

    name, server, resource = "HTTPRoute", "Gateway", HTTP_ROUTES

    def __init__(self, api: Api, host: str, wanted: str | None) -> None:
        """`wanted` is the Gateway that the user named: NAME, or NAMESPACE/NAME."""
        self._api, self.host = api, host
        namespace, _, self._wanted = (wanted or "").rpartition("/")
        self._namespace = namespace or None
        self._parent, self._looked_at = "", "The cluster"
        self.notices: list[str] = []

    async def choose(self) -> bool:
        """Choose the Gateway: the one that the user named, or the only one that takes the route.

        Raises TargetUnsuitable where there is no Gateway API, and where none or several take it.
        """
        found = await self._gateways()
        if found is None:
            self._parent = f"{self._namespace or self._api.namespace}/{self._wanted}"
            return True
        known = {gateway_api.reference(one): one for one in found}
        named = {one: gateway for one, gateway in known.items() if self._is_wanted(one)}
        if not named:
            there = f"; there are {', '.join(sorted(known))}" if known else ""
            which = f" {self._namespace + '/' if self._namespace else ''}{self._wanted}" if self._wanted else ""
            raise TargetUnsuitable(
                f"{self._looked_at} has no Gateway{which}, which would serve an HTTPRoute{there}.",
                hint="Name another with --gateway NAMESPACE/NAME, or leave out --gateway-route.",
            )
        labels = await self._labels()
        refusals = {
            one: gateway_api.refusal(gateway, self.host, self._api.namespace, labels) for one, gateway in named.items()
        }
        fitting = sorted(one for one, refusal in refusals.items() if refusal is None)
        if not fitting:
            told = "; ".join(f"{one}: {refusal}" for one, refusal in sorted(refusals.items()))
            raise TargetUnsuitable(
                f"No Gateway takes a route for {self.host} from namespace {self._api.namespace} ({told}).",
                hint="Choose another host, or have a listener of the Gateway admit it.",
            )
        if len(fitting) > 1:
            raise TargetUnsuitable(
                f"Several Gateways take a route for {self.host}: {', '.join(fitting)}.",
                hint="Name one with --gateway NAMESPACE/NAME.",
            )
        self._parent = fitting[0]
        return True

    def document(self, metadata: Json, port: int) -> Json:
        """Make the manifest; the Service has the route's own name."""
        namespace, _, name = self._parent.partition("/")
        return {
            "apiVersion": f"{gateway_api.GROUP}/v1",
            "kind": gateway_api.ROUTE,
            "metadata": metadata,
            "spec": {
                "parentRefs": [{"namespace": namespace, "name": name}],
                "hostnames": [self.host],
                "rules": [{"backendRefs": [{"name": metadata["name"], "port": port}]}],
            },
        }

    async def settle(self, path: str) -> bool:
        """Wait until the Gateway's controller says that it takes the route at `path`.

        Raises TargetUnsuitable when it says that it does not. What has not been said in time becomes a notice.
        """
        said: dict[str, Json] = {}

        async def is_taken() -> bool:
            said.update(_said(await self._api.request("GET", path), self._parent))
            if said.get("Accepted", {}).get("status") == "False":
                raise self._refused(said["Accepted"])
            return all(said.get(one, {}).get("status") == "True" for one in _TAKEN)

        if await poll_until(is_taken, TAKEN_WITHIN_S):
            return True
        if said.get("ResolvedRefs", {}).get("status") == "False":  # at first, it may not have seen the Service
            raise self._refused(said["ResolvedRefs"])
        self.notices.append(
            f"Gateway {self._parent} has not said within {TAKEN_WITHIN_S:g} s that it takes the route for {self.host}: "
            f"its controller may not run. Inside the cluster the preview works."
        )
        return False

    def _refused(self, condition: Json) -> TargetUnsuitable:
        message = str(condition.get("message") or "its controller says no more").rstrip(".")
        return TargetUnsuitable(
            f"Gateway {self._parent} does not take the route for {self.host} ({condition.get('reason')}): {message}.",
            hint="Name another with --gateway NAMESPACE/NAME, or choose another host.",
        )

    def _is_wanted(self, reference: str) -> bool:
        namespace, _, name = reference.partition("/")
        return (not self._wanted or name == self._wanted) and self._namespace in (None, namespace)

    async def _gateways(self) -> list[Json] | None:
        """Return those of the cluster, or of one namespace where the user sees no more; None where a named one may be.

        Raises TargetUnsuitable where there is no Gateway API, and where the user may see none and names none.
        """
        for place in dict.fromkeys((None, self._namespace or self._api.namespace)):
            if place is not None:
                self._looked_at = f"Namespace {place}, which is all that you may see of the cluster's Gateways,"
            try:
                return [one async for one in list_all(self._api, GATEWAYS.path(place))]
            except NotFound as exc:
                raise TargetUnsuitable(
                    f"The cluster has no Gateway API ({gateway_api.GROUP}/v1), so nothing would serve an HTTPRoute.",
                    hint="Install an implementation of it, or say --ingress HOST.",
                ) from exc
            except Forbidden:
                continue
        if not self._wanted:
            raise TargetUnsuitable(
                "You may not see which Gateways the cluster has.", hint="Name one with --gateway NAMESPACE/NAME."
            )
        return None

    async def _labels(self) -> dict[str, str] | None:
        try:
            return labels_of(await self._api.request("GET", NAMESPACES.path(name=self._api.namespace)))
        except Forbidden:
            return None


def _said(route: Json, parent: str) -> dict[str, Json]:
    """Return the conditions that a route has for one parent, by type."""
    namespace, _, name = parent.partition("/")
    return {
        one["type"]: dict(one)
        for entry in status_of(route).get("parents") or []
        if (entry["parentRef"].get("namespace", namespace), entry["parentRef"]["name"]) == (namespace, name)
        for one in conditions_of({"status": entry})
    }
