"""A user who has nothing but what is documented."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ktpy.cluster import rbac
from tests.e2e.cluster_gateway.people import NAMESPACE, answer, clean, essence, leftovers
from tests.e2e.test_cluster_shadow import applied
from tests.lab import Lab


class TestRights:
    """A user who has nothing but what is documented."""

    @pytest.fixture
    def kubeconfig(self, cluster: Lab) -> Path:
        return cluster.kubeconfig("carol@example.org")

    def grant(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        documents = rbac.manifest(NAMESPACE, "carol@example.org", whole_cluster=False)
        role, binding = yaml.safe_load_all(documents)
        return [role | {"rules": rules}, binding]

    def test_the_documented_role_is_enough(self, undisturbed: Lab, kubeconfig: Path) -> None:
        with applied(undisturbed, *self.grant([rule.document() for rule in rbac.INTERCEPT])):
            told = answer(undisturbed, "enter", "web", kubeconfig=kubeconfig)
            assert "error" not in told
            assert answer(undisturbed, "clean", kubeconfig=kubeconfig)["failures"] == []
            assert "error" not in answer(undisturbed, "recover", "web", kubeconfig=kubeconfig)
            assert "error" not in answer(undisturbed, "preview", "pay", kubeconfig=kubeconfig)

    def test_what_is_forbidden_is_named_until_all_is_granted(self, cluster: Lab, kubeconfig: Path) -> None:
        """Each refusal's hint, granted as it stands, takes one step further; none asks for more than is documented."""
        before = essence(cluster)
        granted: list[dict[str, Any]] = []
        for _ in range(40):
            with applied(cluster, *self.grant(granted)):
                told = answer(cluster, "enter", "web", kubeconfig=kubeconfig)
            if told.get("error") != "Forbidden":
                break
            granted += yaml.safe_load(told["hint"].partition("\n")[2])
        assert "error" not in told
        documented = {(rule.group, rule.resource, verb) for rule in rbac.INTERCEPT for verb in rule.verbs}
        asked = {(rule["apiGroups"][0], rule["resources"][0], rule["verbs"][0]) for rule in granted}
        assert asked <= documented
        clean(cluster)  # of those who were not allowed to undo
        assert essence(cluster) == before
        assert leftovers(cluster) == []
