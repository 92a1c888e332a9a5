"""Addresses of the demo shop, as the API server knows them."""

import hashlib
from dataclasses import dataclass
from typing import Any

from tests.demo.server import big_body
from tests.lab.api import Api

NAMESPACE = "shop"


@dataclass(frozen=True, slots=True)
class Addresses:
    """One of each family; the demo shop's single-stack service has no IPv6."""

    ipv4: str
    ipv6: str = ""

    @classmethod
    def of(cls, addresses: list[str]) -> "Addresses":
        by_family = {":" in address: address for address in addresses}
        return cls(by_family[False], by_family.get(True, ""))


class Shop:
    """Services and pods of namespace `shop`; pass another to look there."""

    def __init__(self, api: Api, namespace: str = NAMESPACE) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}"

    def service(self, name: str) -> Addresses:
        """The cluster IPs of a service."""
        return Addresses.of(self._get(f"services/{name}")["spec"]["clusterIPs"])

    def pod(self, name: str) -> Addresses:
        return Addresses.of([entry["ip"] for entry in self._get(f"pods/{name}")["status"]["podIPs"]])

    def pods(self, app: str) -> dict[str, Addresses]:
        """The running pods of an app, by name."""
        found = self._get(f"pods?labelSelector=app%3D{app}&fieldSelector=status.phase%3DRunning")["items"]
        names = [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {name: self.pod(name) for name in names}

    def _get(self, what: str) -> Any:
        found = self._api.get(f"{self._path}/{what}")
        assert found is not None, f"the API server has no {self._path}/{what}"
        return found


def digest_of_body(size: int) -> str:
    """What tells `big_body` of this size (SHA-256)."""
    digest = hashlib.sha256()
    for block in big_body(size):
        digest.update(block)
    return digest.hexdigest()
