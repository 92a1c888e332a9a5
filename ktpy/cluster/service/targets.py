"""Finds the Service that the user means (`web`, `deployment/web`, `pod/web-0`), and tells if it can be intercepted."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ktpy.cluster.names import MANAGED_BY, OWNER, ROLE
from ktpy.cluster.service.reference import KNOWN, Reference
from ktpy.cluster.service.service_state import selector_for
from ktpy.errors import Forbidden, KtpyError, TargetAbsent, TargetAmbiguous, TargetUnsuitable, UsageError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, endpoints_of, labels_of, metadata_of, name_of, spec_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Resource
from ktpy.kube.watch import list_all

_LISTED = 20
"""How many names a hint lists at most."""


async def find(api: Api, reference: Reference) -> Json:
    """Return the Service that is meant.

    Raises UsageError for a kind without pods, NamespaceAbsent, TargetAbsent and TargetAmbiguous.
    """
    services = SERVICES.path(api.namespace)
    if reference.kind == "service" and not reference.group:
        try:
            return await api.request("GET", SERVICES.path(api.namespace, reference.name))
        except NotFound as exc:
            raise await service_absent(api, reference.name) from exc
    labels = await _pod_labels(api, reference)
    found = [item async for item in list_all(api, services) if selects(item, labels)]
    if not found:
        raise TargetAbsent(
            f"No service of namespace {api.namespace} leads to {reference}.",
            hint="An intercept needs a service in front of the pods: see kubectl get services -o wide.",
        )
    if len(found) > 1:
        names = sorted(map(name_of, found))
        raise TargetAmbiguous(
            f"{len(names)} services lead to {reference}: {listing(names)}.", hint="Name one of them instead."
        )
    return found[0]


async def service_absent(api: Api, name: str) -> TargetAbsent:
    """Return the error that names the Services that there are. Raises NamespaceAbsent."""
    present = sorted([name_of(item) async for item in list_all(api, SERVICES.path(api.namespace))])
    if not present:
        await refuse_absent_namespace(api)
    here = f"Its services are: {listing(present)}." if present else "It has no services."
    hint = await _elsewhere(api, SERVICES, name)
    return TargetAbsent(f"There is no service {name} in namespace {api.namespace}.", hint=f"{hint}{here}")


async def refuse_absent_namespace(api: Api) -> None:
    """Raise NamespaceAbsent when the namespace does not exist, as far as the user may see that."""
    with suppress(Forbidden):
        await api.request("GET", NAMESPACES.path(name=api.namespace))


async def _elsewhere(api: Api, resource: Resource, name: str) -> str:
    """Say which other namespaces have an object of this name; nothing where the user may not see them."""
    with suppress(Forbidden):
        found = [item async for item in list_all(api, resource.path(), fields=f"metadata.name={name}")]
        if spaces := sorted({metadata_of(item)["namespace"] for item in found} - {api.namespace}):
            return f"{listing(spaces)} {'has' if len(spaces) == 1 else 'have'} one: -n {spaces[0]}. "
    return ""


async def refuse_unsuitable(api: Api, service: Json) -> None:
    """Raise TargetUnsuitable when no gateway can stand before this Service, whatever its ports."""
    if (problem := unsuitable(service)) is None and await _names_its_pods(api, service):
        problem = TargetUnsuitable(
            f"Service {name_of(service)} is headless and gives each pod a name of its own, as for a "
            "StatefulSet: clients reach the pods past any gateway."
        )
    if problem is not None:
        raise problem


async def refuse_loop(service: Json, hosts: Iterable[str]) -> None:
    """Raise TargetUnsuitable where one of `hosts`, which are to serve the Service, leads to the Service itself."""
    spec, balancer = spec_of(service), (service.get("status") or {}).get("loadBalancer") or {}
    own = {*(spec.get("clusterIPs") or ()), *(spec.get("externalIPs") or ())}
    own |= {one.get("ip") for one in balancer.get("ingress") or ()}
    for host in hosts:
        with suppress(OSError):  # nobody has this name: it counts as down, and that is told
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
            if own.intersection(address[0] for *_, address in found):
                raise TargetUnsuitable(
                    f"HOST {host} leads to service {name_of(service)} itself: its requests would go round in a circle.",
                    hint="HOST of --expose is where your own program answers.",
                )


def unsuitable(service: Json) -> TargetUnsuitable | None:
    """Return why the Service cannot be intercepted, as far as it shows that itself; None when it can."""
    name, spec, labels = name_of(service), service["spec"], labels_of(service)
    if labels.get(MANAGED_BY) == "ktpy":
        whose = f"a {labels.get(ROLE)} of ktpy, of {labels.get(OWNER)}"
        return TargetUnsuitable(f"Service {name} is {whose}; it cannot be intercepted itself.")
    if spec.get("type") == "ExternalName":
        return TargetUnsuitable(
            f"Service {name} only points to another name ({spec.get('externalName')}): no traffic passes through it."
        )
    if not spec.get("selector"):
        return TargetUnsuitable(
            f"Service {name} has no selector: its endpoints are set by hand, so there are no pods to stand before."
        )
    if not spec.get("ports"):
        return TargetUnsuitable(f"Service {name} has no ports.")
    if sctp := [port for port in spec["ports"] if port.get("protocol") == "SCTP"]:
        return TargetUnsuitable(f"Port {sctp[0]['port']} of service {name} is SCTP, which the gateway cannot relay.")
    if spec.get("internalTrafficPolicy") == "Local":
        return TargetUnsuitable(
            f"Service {name} keeps traffic on each node (internalTrafficPolicy: Local): a gateway on one node would "
            "cut off the clients of all others."
        )
    return None


def selects(service: Json, labels: Mapping[str, str]) -> bool:
    """Whether the Service leads to pods with these labels, or would without its gateway; ktpy's own do not count."""
    if labels_of(service).get(MANAGED_BY) == "ktpy":
        return False
    selector = selector_for(service)
    return selector is not None and bool(selector) and selector.items() <= labels.items()


async def one_pod(api: Api, selector: Mapping[str, str]) -> Json | None:
    """Return one of the pods that a Service selects; None where there is none, or the user may not see it."""
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in selector.items()), "limit": "1"}
    try:
        page = await api.request("GET", PODS.path(api.namespace), query=query)
    except (Forbidden, NotFound):
        return None
    return next(iter(page.get("items") or []), None)


def type_of(service: Json) -> str:
    """Return the Service's type, as Kubernetes has it; `Headless` without an address of its own."""
    spec = service["spec"]
    return "Headless" if spec.get("clusterIP") == "None" else spec.get("type") or "ClusterIP"


def warnings(service: Json) -> list[str]:
    """Return what the user should know before this Service's selector changes."""
    name, spec = name_of(service), service["spec"]
    found = []
    if (manager := managed_by(service)) is not None:
        found.append(
            f"Service {name} is managed by {manager}, which may put its selector back at any time: the traffic then "
            "goes to the original pods only, until ktpy takes part again."
        )
    if type_of(service) == "Headless":
        found.append(f"Service {name} is headless: clients keep using the pod addresses they have already resolved.")
    if spec.get("sessionAffinity") == "ClientIP":
        found.append(
            f"Service {name} has sessionAffinity ClientIP: behind the gateway all clients have one address, "
            "so that all go to one original pod."
        )
    if spec.get("externalTrafficPolicy") == "Local":
        found.append(
            f"Service {name} has externalTrafficPolicy Local: traffic from outside arrives only through the node of "
            "the gateway's pod, and the pods see the gateway's address instead of the client's."
        )
    return found


def managed_by(service: Json) -> str | None:
    """Return the GitOps tool or package manager that owns the Service, as its labels and annotations show."""
    marks = labels_of(service) | annotations_of(service)
    if "argocd.argoproj.io/tracking-id" in marks or "argocd.argoproj.io/instance" in marks:
        return "Argo CD"
    if "kustomize.toolkit.fluxcd.io/name" in marks or "helm.toolkit.fluxcd.io/name" in marks:
        return "Flux"
    if "meta.helm.sh/release-name" in marks or marks.get(MANAGED_BY) == "Helm":
        return "Helm"
    return None


async def fetch_workload(api: Api, reference: Reference) -> Json:
    """Return the object that has pods, of a kind of KNOWN or of the cluster's own.

    Raises UsageError for a kind that the API server does not have, NamespaceAbsent and TargetAbsent.
    """
    if (resource := reference.resource or await _served_resource(api, reference)) is None:
        raise UsageError(
            f"The API server has no kind for {reference}.",
            hint=f"Name a service, or KIND/NAME of what has pods: {', '.join(KNOWN)}, or a kind of the cluster's own.",
        )
    try:
        return await api.request("GET", resource.path(api.namespace, reference.name))
    except NotFound as exc:
        await refuse_absent_namespace(api)
        hint = (await _elsewhere(api, resource, reference.name)).strip() or None
        raise TargetAbsent(f"There is no {reference} in namespace {api.namespace}.", hint=hint) from exc


def template_of(workload: Json, kind: str) -> Json:
    """Return the template of a workload's pods; a pod is its own. It is empty where the kind has none."""
    if kind == "pod":
        return workload
    spec = spec_of(workload)
    if kind == "cronjob":
        spec = spec_of(spec.get("jobTemplate") or {})
    return spec.get("template") or {}


async def _pod_labels(api: Api, reference: Reference) -> dict[str, str]:
    """Return the labels of the pods that a workload makes: of its template, or else what it selects."""
    found = await fetch_workload(api, reference)
    labels: dict[str, str] | None = (template_of(found, reference.kind).get("metadata") or {}).get("labels")
    if reference.kind == "pod":
        return labels or {}
    if not labels and isinstance(selector := spec_of(found).get("selector"), dict):
        labels = selector.get("matchLabels", selector)  # a plain map, where the kind is older than label selectors
    if not labels:
        raise UsageError(f"{reference} does not tell which pods it has.", hint="Name the service before them.")
    return labels


async def _served_resource(api: Api, reference: Reference) -> Resource | None:
    """Find the kind among those that others have added to this API server (discovery)."""
    groups: list[Json] = (await api.request("GET", "/apis")).get("groups") or []

    async def look(group: Json) -> Resource | None:
        version = group["preferredVersion"]["version"]
        with suppress(KtpyError):  # of a group whose own API server is down nothing is known
            for one in (await api.request("GET", f"/apis/{group['name']}/{version}")).get("resources") or []:
                names = {one["name"], one.get("singularName"), str(one.get("kind")).lower()}
                names |= set(one.get("shortNames") or ())
                if reference.kind in names and one.get("namespaced") and "/" not in one["name"]:
                    return Resource(group["name"], version, one["name"])
        return None

    wanted = [group for group in groups if reference.group in ("", group["name"])]
    return next(filter(None, await asyncio.gather(*map(look, wanted))), None)


async def _names_its_pods(api: Api, service: Json) -> bool:
    """Endpoints have a hostname when pods have names under the Service (spec.hostname and spec.subdomain)."""
    if type_of(service) != "Headless":
        return False
    of_service = f"kubernetes.io/service-name={name_of(service)}"
    slices = list_all(api, ENDPOINT_SLICES.path(api.namespace), labels=of_service)
    return any([endpoint.get("hostname") async for item in slices for endpoint in endpoints_of(item)])


def listing(names: list[str]) -> str:
    """Return the names in a sentence, not more than can be read."""
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
