"""Whether a Gateway of the Gateway API takes a route for a host from a namespace, by its listeners. Pure.

The rules are those of GatewaySpec (gateway-api.sigs.k8s.io/reference/spec, v1). What a Gateway's controller makes of a
route stands in the route's status, and that is the last word.
"""

from ktpy.cluster.service.network_policies import Labels, matches
from ktpy.kube.objects import Json, metadata_of, name_of, spec_of

GROUP = "gateway.networking.k8s.io"
ROUTE = "HTTPRoute"
_HTTP = ("HTTP", "HTTPS")
"""The protocols of listeners that take HTTPRoutes where they do not say what they take."""


def reference(gateway: Json) -> str:
    """Return the Gateway as people name it: `infra/edge`."""
    return f"{metadata_of(gateway).get('namespace')}/{name_of(gateway)}"


def refusal(gateway: Json, host: str, namespace: str, labels: Labels | None) -> str | None:
    """Say why none of the Gateway's listeners takes the route; None when one does.

    `labels` are those of the namespace. Where they are not known (None), it is taken to be one that is chosen.
    """
    home = metadata_of(gateway).get("namespace", "")
    listeners = [one for one in spec_of(gateway).get("listeners") or [] if _is_for_http(one)]
    if not listeners:
        return "it has no listener for HTTPRoutes"
    named = [one for one in listeners if _overlap(one.get("hostname") or "", host)]
    if not named:
        return f"it listens for {', '.join(sorted({one['hostname'] for one in listeners}))}"
    if not any(_admits(one, home, namespace, labels) for one in named):
        return f"it takes no route from namespace {namespace}"
    return None


def _is_for_http(listener: Json) -> bool:
    kinds = (listener.get("allowedRoutes") or {}).get("kinds") or []
    is_named = any(one["kind"] == ROUTE and one.get("group", GROUP) == GROUP for one in kinds)
    if "/" in listener["protocol"]:  # an implementation's own (ProtocolType)
        return is_named
    return listener["protocol"] in _HTTP and (is_named or not kinds)


def _overlap(one: str, other: str) -> bool:
    """Whether two hosts, of which each may begin with `*.`, have a name in common. An empty one is every host."""
    one, other = one.lower(), other.lower()
    return not one or one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(host: str, wildcard: str) -> bool:
    """Whether `*.example.org` has the host, which may have several labels in the place of the star."""
    return wildcard.startswith("*.") and host.removeprefix("*").endswith(wildcard[1:])


def _admits(listener: Json, home: str, namespace: str, labels: Labels | None) -> bool:
    allowed = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
    match allowed.get("from", "Same"):
        case "All":
            return True
        case "Same":
            return home == namespace
        case "Selector":
            return labels is None or matches(allowed.get("selector") or {}, labels)
        case _:
            return False
