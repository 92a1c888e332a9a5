"""A right in a cluster, as Kubernetes RBAC writes it down."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A Rule is one rule of a Role. `why` becomes its comment in the documentation."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str = ""

    def document(self) -> dict[str, list[str]]:
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


def rule_yaml(rule: Rule) -> str:
    """Write one rule as it stands in the `rules` of a Role."""
    quoted = ", ".join(f'"{verb}"' for verb in rule.verbs)
    return f'- apiGroups: ["{rule.group}"]\n  resources: ["{rule.resource}"]\n  verbs: [{quoted}]'
