"""A Service that sessions intercept, or that a preview makes, and where ktpy's objects beside it are. Pure."""

from dataclasses import dataclass

from ktpy.cluster.names import gateway_name, origin_name
from ktpy.cluster.sharing.shared_object import SharedObject
from ktpy.kube.client import Api
from ktpy.kube.resources import DEPLOYMENTS, SERVICES


@dataclass(frozen=True, slots=True, order=True)
class Interceptee:
    """An Interceptee is one Service. All sessions that have a part in it find the same objects by its name."""

    namespace: str
    name: str

    @property
    def service_path(self) -> str:
        return SERVICES.path(self.namespace, self.name)

    @property
    def gateway_path(self) -> str:
        """Of the gateway's Deployment."""
        return DEPLOYMENTS.path(self.namespace, gateway_name(self.name))

    @property
    def origin_name(self) -> str:
        return origin_name(self.name)

    def gateway(self, api: Api) -> SharedObject:
        return SharedObject(api, DEPLOYMENTS.path(self.namespace), gateway_name(self.name), self.name)

    def origin(self, api: Api) -> SharedObject:
        return SharedObject(api, SERVICES.path(self.namespace), self.origin_name, self.name)
