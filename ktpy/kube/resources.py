"""The kinds of objects that ktpy asks the API server for, as values that make their URL paths. Pure."""

from ktpy.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """A Resource of the API has a group ("" for the core), a version and the plural that stands in paths."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection or, with `name`, of one object, or of one of its subresources.

        Without a namespace it is the whole cluster's (kubernetes.io/docs/reference/using-api/api-concepts).
        """
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"/namespaces/{namespace}" if namespace is not None else ""
        parts = (f"{root}/{self.version}{within}", self.plural, name, subresource)
        return "/".join(part for part in parts if part is not None)


CONFIG_MAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
EVENTS = Resource("", "v1", "events")
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses")
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses")
JOBS = Resource("batch", "v1", "jobs")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
LIMIT_RANGES = Resource("", "v1", "limitranges")
NAMESPACES = Resource("", "v1", "namespaces")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
NODES = Resource("", "v1", "nodes")
PODS = Resource("", "v1", "pods")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas")
SERVICES = Resource("", "v1", "services")
SERVICE_CIDRS = tuple(Resource("networking.k8s.io", version, "servicecidrs") for version in ("v1", "v1beta1"))
"""The newest first: clusters before 1.33 serve only the beta, those before 1.31 neither."""
