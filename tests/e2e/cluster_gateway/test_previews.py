"""Previews come, go and die."""

import pytest

from tests.e2e.cluster_gateway.people import answer, clean, leftovers, probe
from tests.lab import Lab


class TestPreview:
    def test_it_comes_and_goes(self, cluster: Lab) -> None:
        told = probe(cluster, "preview", "pay")
        assert told[-1] == {"left": True}
        assert leftovers(cluster) == []

    @pytest.mark.parametrize("step", ["claim a lease", "create the service", "create the gateway"])
    def test_killed(self, cluster: Lab, step: str) -> None:
        probe(cluster, "preview", "pay", "--kill-after", step)
        clean(cluster)
        assert leftovers(cluster) == []

    def test_a_name_that_is_taken(self, undisturbed: Lab) -> None:
        assert answer(undisturbed, "preview", "web")["error"] == "NameTaken"

    def test_no_ingress_class(self, cluster: Lab) -> None:
        told = answer(cluster, "preview", "pay", "--ingress", "pay.example.org")
        assert told["message"].startswith("The cluster has no ingress class")
        assert leftovers(cluster) == []
