"""What a user may do in the shop's namespace, for as long as a test lasts."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from ktpy.cluster import rbac
from ktpy.kube.rights import Rule
from tests.e2e.kit.shop import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import wait_until

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
IN_FORCE_WITHIN_S = 60.0


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
    """These roles are in force in the block, and not after it: the API server judges by them a moment later."""
    new = [review for review in _reviews(manifest) if not _is_allowed(lab, review)]
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        wait_until(lambda: all(_is_allowed(lab, one) for one in new), IN_FORCE_WITHIN_S, "the roles to be in force")
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=manifest)
        wait_until(lambda: not any(_is_allowed(lab, one) for one in new), IN_FORCE_WITHIN_S, "the roles to be gone")


def _reviews(manifest: str) -> Iterator[dict[str, Any]]:
    """Whether the user may do what each role allows last."""
    documents = list(yaml.safe_load_all(manifest))
    roles = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    for binding in (one for one in documents if "roleRef" in one):
        role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        rule = role["rules"][-1]
        resource, _, subresource = rule["resources"][-1].partition("/")
        attributes = {
            "namespace": role["metadata"].get("namespace", ""),
            "group": rule["apiGroups"][-1],
            "resource": resource,
            "subresource": subresource,
            "verb": rule["verbs"][-1],
        }
        spec = {"user": binding["subjects"][0]["name"], "resourceAttributes": attributes}
        yield {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def _is_allowed(lab: Lab, review: dict[str, Any]) -> bool:
    return bool(json.loads(lab.api.request(REVIEWS, post=review)[1])["status"]["allowed"])
