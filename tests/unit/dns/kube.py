"""Services and EndpointSlices in the API server's own JSON form."""

from typing import Any


def service(
    name: str,
    namespace: str = "shop",
    *ips: str,
    ports: tuple[tuple[str | None, str, int], ...] = (("http", "TCP", 80),),
    **spec: Any,
) -> dict[str, Any]:
    """A Service; without addresses a headless one."""
    cluster_ips = list(ips) or ["None"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ips[0],
            "clusterIPs": cluster_ips,
            "ports": _ports(ports),
            **spec,
        },
    }


def external_name(name: str, target: str, namespace: str = "shop") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": target},
    }


def endpoint_slice(
    service_name: str,
    namespace: str = "shop",
    *endpoints: tuple[str, str | None] | tuple[str, str | None, bool | None],
    ports: tuple[tuple[str | None, str, int], ...] = (("http", "TCP", 8080),),
    suffix: str = "a",
) -> dict[str, Any]:
    """An EndpointSlice of endpoints (address, hostname[, ready])."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service_name}-{suffix}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv6" if endpoints and ":" in endpoints[0][0] else "IPv4",
        "ports": _ports(ports),
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": rest[0] if rest else True},
                **({"hostname": hostname} if hostname else {}),
            }
            for address, hostname, *rest in endpoints
        ],
    }


def _ports(ports: tuple[tuple[str | None, str, int], ...]) -> list[dict[str, Any]]:
    return [
        {"protocol": protocol, "port": number, **({"name": name} if name else {})} for name, protocol, number in ports
    ]
