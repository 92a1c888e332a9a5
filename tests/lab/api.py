"""Requests to the lab's API server from the machine's side, through a socket made in the laptop's namespace.

kubectl costs a third of a second of CPU a call; polling with it would slow the start it waits for.
"""

import http.client
import json
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.lab import namespaces
from tests.lab.errors import LabError
from tests.lab.layout import API_PORT, NODE_IPV4

TIMEOUT_S = 20.0


class _NetnsConnection(http.client.HTTPSConnection):
    def __init__(self, netns: Path, context: ssl.SSLContext, timeout_s: float) -> None:
        super().__init__(NODE_IPV4, API_PORT, timeout=timeout_s, context=context)
        self._netns = netns
        self._tls = context
        self._timeout_s = timeout_s

    def connect(self) -> None:
        plain = namespaces.stream_socket(self._netns, (self.host, self.port), self._timeout_s)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class Api:
    """The API server as cluster-admin, seen from one network namespace."""

    def __init__(self, netns: Path, pki_dir: Path) -> None:
        self._netns = netns
        self._tls = ssl.create_default_context(cafile=str(pki_dir / "ca.crt"))
        self._tls.load_cert_chain(pki_dir / "admin.crt", pki_dir / "admin.key")

    def request(
        self, path: str, timeout_s: float = TIMEOUT_S, *, patch: Any = None, post: Any = None
    ) -> tuple[int, bytes]:
        """GET `path`, PATCH it (a strategic merge), or POST there.

        Raises OSError or http.client.HTTPException when there is no answer.
        """
        connection = _NetnsConnection(self._netns, self._tls, timeout_s)
        try:
            if patch is not None:
                headers = {"Content-Type": "application/strategic-merge-patch+json"}
                connection.request("PATCH", path, json.dumps(patch), headers)
            elif post is not None:
                connection.request("POST", path, json.dumps(post), {"Content-Type": "application/json"})
            else:
                connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def create(self, objects: Iterable[tuple[str, Any]]) -> None:
        """POST each object to its collection's path, one after the other; LabError for the first that is refused."""
        connection = _NetnsConnection(self._netns, self._tls, TIMEOUT_S)
        try:
            for path, item in objects:
                connection.request("POST", path, json.dumps(item), {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = response.read()
                if response.status != http.HTTPStatus.CREATED:
                    raise LabError(f"POST {path}: {body.decode(errors='replace')}")
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The decoded object at `path`, or None when it cannot be had (absent, or no answer)."""
        try:
            status, body = self.request(path)
            return json.loads(body) if status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def is_ready(self) -> bool:
        try:
            return self.request("/readyz", timeout_s=5.0)[0] == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def node_is_ready(self, node_name: str) -> bool:
        node = self.get(f"/api/v1/nodes/{node_name}") or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def deployment_is_available(self, namespace: str, name: str) -> bool:
        deployment = self.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}") or {}
        return bool(deployment.get("status", {}).get("availableReplicas"))
