"""What a user may do in the shop's namespace, for as long as a test lasts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import yaml

from ktpy.cluster import rbac
from ktpy.kube.rights import Rule
from tests.e2e.kit.shop import NAMESPACE
from tests.lab import Lab


def role(rules: Iterable[Rule], user: str) -> str:
    """The documented Role and its binding, with these rules instead."""
    document, binding = yaml.safe_load_all(rbac.manifest(NAMESPACE, user, whole_cluster=False))
    document["rules"] = [rule.document() for rule in rules]
    return str(yaml.safe_dump_all([document, binding]))


def asked_for(hint: str) -> list[Rule]:
    """Return the rules that the hint of a refusal asks for."""
    lines = [line.strip() for line in hint.splitlines() if line.strip().startswith("- ")]
    rules = yaml.safe_load("\n".join(lines))
    return [Rule(rule["apiGroups"][0], rule["resources"][0], tuple(rule["verbs"])) for rule in rules]


@contextmanager
def granted(lab: Lab, manifest: str) -> Iterator[None]:
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=manifest)
