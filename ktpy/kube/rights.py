"""A right in a cluster, as Kubernetes RBAC writes it down."""

import json
from typing import Any

from ktpy.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A Rule is one rule of a Role. `why` becomes its comment in the documentation."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str = ""

    def document(self) -> dict[str, list[str]]:
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


def flow(start: str, value: dict[str, Any]) -> str:
    """Write one line of YAML. Whatever is in the values, quotes of JSON are quotes of YAML, too."""
    return start + "{" + ", ".join(f"{key}: {json.dumps(item)}" for key, item in value.items()) + "}"


def rule_yaml(rule: Rule) -> str:
    """Write one rule as it stands in the `rules` of a Role, in one line."""
    return flow("- ", rule.document())
