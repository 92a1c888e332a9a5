"""What became of the shop's objects meanwhile: what an assertion should show when a request was lost."""

import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.kit.shop import NAMESPACE
from tests.lab import Lab

WATCH_S = 1
COLLECTIONS = (
    f"/api/v1/namespaces/{NAMESPACE}/services",
    f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
    f"/api/v1/namespaces/{NAMESPACE}/pods",
    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
)


class History:
    """Every version since it was begun, as far as the API server remembers: some minutes."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._begin = lab.api.get(COLLECTIONS[0])["metadata"]["resourceVersion"]

    def __str__(self) -> str:
        changes = [change for path in COLLECTIONS for change in self._changes(path)]
        return "\n".join(line for _, line in sorted(changes))

    def _changes(self, path: str) -> Iterator[tuple[int, str]]:
        query = f"watch=true&resourceVersion={self._begin}&timeoutSeconds={WATCH_S}"
        _, body = self._lab.api.request(f"{path}?{query}")
        for line in body.splitlines():
            change = json.loads(line)
            item = change["object"]
            if change["type"] == "ERROR":  # the API server was restarted, or remembers no more
                yield 0, f"{path}: {item['message']}"
                continue
            version, name = int(item["metadata"]["resourceVersion"]), item["metadata"]["name"]
            yield version, f"{version} {change['type']} {item['kind']} {name}: {_told(item)}"


def _told(item: dict[str, Any]) -> Any:
    status = item.get("status") or {}
    match item["kind"]:
        case "Service":
            return item["spec"].get("selector")
        case "EndpointSlice":
            return [(one["addresses"], one["conditions"]) for one in item.get("endpoints") or []]
        case "Pod":
            ready = [one["status"] for one in status.get("conditions") or [] if one["type"] == "Ready"]
            return status.get("podIP"), ready, "ending" if "deletionTimestamp" in item["metadata"] else "staying"
        case _:
            return status.get("readyReplicas")
