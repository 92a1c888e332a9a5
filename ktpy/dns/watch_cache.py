"""What watches tell of the cluster's Services and EndpointSlices, found by name and by address. Pure, no I/O."""

from collections.abc import Iterator, KeysView
from collections.abc import Set as AbstractSet
from typing import TypeVar

from ktpy.dns.objects import EndpointAddress, EndpointSlice, NamedPort, Service
from ktpy.kube.objects import Json

_Key = TypeVar("_Key")


class _Namespace:
    """A _Namespace holds the known objects of one Kubernetes namespace."""

    __slots__ = ("services", "slices", "slices_of")

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.slices: dict[str, EndpointSlice] = {}
        self.slices_of: dict[str, tuple[EndpointSlice, ...]] = {}  # by service


class WatchCache:
    """A WatchCache has what is known so far.

    `synced` says that the first listing of all watched objects is complete.
    """

    def __init__(self) -> None:
        self.synced = False
        self._changes = 1
        self._scope: frozenset[str] | None = None
        self._namespaces: dict[str, _Namespace] = {}
        self._service_at: dict[bytes, Service] = {}  # by cluster IP
        self._slices_at: dict[bytes, tuple[EndpointSlice, ...]] = {}  # by endpoint address

    @property
    def generation(self) -> int:
        """A number that grows with every change that can change an answer."""
        return self._changes

    # --- what watches tell

    def set_scope(self, namespaces: AbstractSet[str] | None) -> None:
        """Say which namespaces are watched. None means the whole cluster, so what is absent does not exist."""
        self._scope = None if namespaces is None else frozenset(namespaces)
        self._changes += 1

    def upsert_service(self, obj: Json) -> None:
        """Take a Service as the API server sends it."""
        service = Service.of(obj)
        services = self._namespaces.setdefault(service.namespace, _Namespace()).services
        previous = services.get(service.name)
        if previous == service:
            return  # only a label, an annotation or the status changed
        if previous is not None:
            self._forget_cluster_ips(previous)
        services[service.name] = service
        for address in service.cluster_ips:
            self._service_at[address] = service
        self._changes += 1

    def delete_service(self, namespace: str, name: str) -> None:
        """Drop a Service; one that is not known is no error, because a watch may repeat itself."""
        if (service := self._known(namespace).services.pop(name, None)) is None:
            return
        self._forget_cluster_ips(service)
        self._forget_if_empty(namespace)
        self._changes += 1

    def upsert_endpoint_slice(self, obj: Json) -> None:
        """Take an EndpointSlice as the API server sends it; one that belongs to no Service is left out."""
        new = EndpointSlice.of(obj)
        if new is None:
            self.delete_endpoint_slice(obj["metadata"].get("namespace", "default"), obj["metadata"]["name"])
            return
        namespace = self._namespaces.setdefault(new.namespace, _Namespace())
        previous = namespace.slices.get(new.name)
        if previous == new:
            return
        if previous is not None:
            self._forget_slice(namespace, previous)
        namespace.slices[new.name] = new
        _add(namespace.slices_of, new.service, new)
        for address in {endpoint.address for endpoint in new.endpoints}:
            _add(self._slices_at, address, new)
        self._changes += 1

    def delete_endpoint_slice(self, namespace: str, name: str) -> None:
        """Drop an EndpointSlice; one that is not known is no error."""
        known = self._known(namespace)
        if (gone := known.slices.pop(name, None)) is None:
            return
        self._forget_slice(known, gone)
        self._forget_if_empty(namespace)
        self._changes += 1

    def _forget_cluster_ips(self, service: Service) -> None:
        for address in service.cluster_ips:
            # Its successor may be known already: delete and create can arrive in either order.
            if self._service_at.get(address) is service:
                del self._service_at[address]

    def _forget_slice(self, namespace: _Namespace, gone: EndpointSlice) -> None:
        _remove(namespace.slices_of, gone.service, gone)
        for address in {endpoint.address for endpoint in gone.endpoints}:
            _remove(self._slices_at, address, gone)

    def _forget_if_empty(self, name: str) -> None:
        namespace = self._namespaces[name]
        if not namespace.services and not namespace.slices:
            del self._namespaces[name]

    # --- what is known

    def is_watched(self, namespace: str) -> bool:
        return self._scope is None or namespace in self._scope

    def namespaces(self) -> KeysView[str]:
        """Return the namespaces of which something is known so far."""
        return self._namespaces.keys()

    def services_in(self, namespace: str) -> list[Service]:
        """Return the Services of a namespace that are known so far, by name."""
        return sorted(self._known(namespace).services.values(), key=lambda service: service.name)

    def has_services(self, namespace: str) -> bool:
        return bool(self._known(namespace).services)

    def service(self, namespace: str, name: str) -> Service | None:
        return self._known(namespace).services.get(name)

    def service_at(self, address: bytes) -> Service | None:
        """Return the Service that has a cluster IP."""
        return self._service_at.get(address)

    def endpoints(self, service: Service) -> Iterator[tuple[EndpointAddress, tuple[NamedPort, ...]]]:
        """Yield the endpoints of a known Service to publish, each with the ports of its slice."""
        for known in self._known(service.namespace).slices_of.get(service.name, ()):
            for endpoint in known.endpoints:
                if _is_published(endpoint, service):
                    yield endpoint, known.ports

    def endpoints_at(self, address: bytes) -> Iterator[tuple[EndpointAddress, Service]]:
        """Yield the endpoints to publish that have an address, each with its Service."""
        for known in self._slices_at.get(address, ()):
            if (service := self.service(known.namespace, known.service)) is not None:
                for endpoint in known.endpoints:
                    if endpoint.address == address and _is_published(endpoint, service):
                        yield endpoint, service

    def _known(self, namespace: str) -> _Namespace:
        return self._namespaces.get(namespace) or _Namespace()


def _is_published(endpoint: EndpointAddress, service: Service) -> bool:
    return endpoint.ready or service.publishes_unready


def _add(index: dict[_Key, tuple[EndpointSlice, ...]], key: _Key, new: EndpointSlice) -> None:
    index[key] = (*index.get(key, ()), new)


def _remove(index: dict[_Key, tuple[EndpointSlice, ...]], key: _Key, gone: EndpointSlice) -> None:
    remaining = tuple(known for known in index.get(key, ()) if known is not gone)
    if remaining:
        index[key] = remaining
    else:
        index.pop(key, None)
