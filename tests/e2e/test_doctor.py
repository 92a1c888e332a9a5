"""`ktpy doctor`, on a laptop and a cluster where all is well, and for a user who may nothing."""

import json
import os
from typing import Any

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def examined(laptop: Laptop, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by subject."""
    done = laptop.run(["ktpy", "doctor", "-n", NAMESPACE, "--output", "json", *options])
    return done.returncode, {one["subject"]: one for one in json.loads(done.stdout)["findings"]}


def test_where_all_is_well(laptop: Laptop, shop: Shop) -> None:
    code, found = examined(laptop, "--rbac", "connect", "--rbac", "dev")
    assert (code, {name for name, one in found.items() if one["state"] != "ok"}) == (0, {"image"})
    assert "Kubernetes v1." in found["API server"]["seen"]
    assert found["resolver"]["seen"].startswith("resolv.conf, which asks ")


def test_who_may_nothing_is_told_which_rules_are_missing(lab: Lab, laptop: Laptop) -> None:
    options = ["--kubeconfig", str(lab.kubeconfig("nobody@example.org"))]
    code, found = examined(laptop, *options)
    assert (code, found["rights for connect"]["state"], found["namespace"]["state"]) == (0, "warning", "not made")
    code, found = examined(laptop, *options, "--rbac", "connect")
    assert (code, found["rights for connect"]["state"]) == (64, "failed")
    assert found["rights for connect"]["mend"] == f"ktpy rbac {NAMESPACE} nobody@example.org | kubectl apply -f -"


def test_an_unknown_context(laptop: Laptop) -> None:
    code, found = examined(laptop, "--context", "nowhere")
    assert (code, found["kubeconfig"]["state"]) == (64, "failed")
