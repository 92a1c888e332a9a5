"""What ktpy says of NetworkPolicies is so where they are enforced: `scripts/lab up --network-policies enforced`."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.workloads import Manifest, applied
from tests.lab import Lab
from tests.lab.layout import POD_IPV4, SERVICE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

OURS = {"matchLabels": {"app.kubernetes.io/name": "ktpy-shadow"}}
CATALOG = {"matchLabels": {"app": "catalog"}}
HOME = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
INTERNET = {"cidr": "0.0.0.0/0", "except": [POD_IPV4, SERVICE_IPV4]}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def out(pods: Manifest, *rules: Manifest) -> Manifest:
    return {"podSelector": pods, "policyTypes": ["Egress"], "egress": list(rules)}


def into(pods: Manifest, *peers: Manifest) -> Manifest:
    return {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{"from": list(peers)}] if peers else []}


CASES = {
    "nothing leaves but DNS": ({"deny": out({}), "dns": out({}, DNS)}, out(OURS, {})),
    "what leaves goes to the internet": (
        {"internet": out({}, {"to": [{"ipBlock": INTERNET}]})},
        out({}, {"to": [{"namespaceSelector": {}}]}),
    ),
    "nothing enters": ({"closed": into({})}, into({}, {"namespaceSelector": HOME})),
    "catalog has clients of its own": (
        {"clients": into(CATALOG, {"podSelector": {"matchLabels": {"app": "front"}}})},
        into(CATALOG, {"podSelector": OURS}),
    ),
}
"""Each by what closes the way from ktpy's pod to catalog, and what opens it again beside that."""


def policies(**specs: Manifest) -> list[Manifest]:
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return [{**kind, "metadata": {"name": name}, "spec": spec} for name, spec in specs.items()]


@pytest.fixture(scope="module")
def connected(lab: Lab, shop: Shop) -> Iterator[ConnectSession]:
    if lab.status().get("network_policies") != "enforced":
        pytest.skip('nobody enforces policies here, as with KTPY_LAB_UP="--network-policies enforced"')
    with ExitStack() as ends:
        with applied(lab, NAMESPACE, *policies(early=out({}))):
            session = ends.enter_context(connecting(lab, "--namespace", NAMESPACE))
            session.wait_for("NetworkPolicy early may keep ktpy's pod from the cluster")
        yield session
        session.quit()


@pytest.mark.parametrize("case", CASES)
def test_what_is_warned_of_does_not_pass_and_the_other_does(
    lab: Lab, laptop: Laptop, connected: ConnectSession, case: str
) -> None:
    def said() -> tuple[str, str]:
        told = laptop.run(["ktpy", "doctor", "-n", NAMESPACE, "--output", "json"])
        [finding] = [one for one in json.loads(told.stdout)["findings"] if one["subject"] == "policies"]
        return finding["state"], finding["seen"].partition(" may keep ktpy's pod ")[0]

    def passes() -> bool:
        return laptop.run(["curl", "-s", "-o", "/dev/null", "-m", "2", "http://catalog/"]).returncode == 0

    closing, opening = CASES[case]
    kind = "NetworkPolicy" if len(closing) == 1 else "NetworkPolicies"
    with applied(lab, NAMESPACE, *policies(**closing)):
        assert said() == ("warning", f"{kind} {', '.join(closing)}")
        wait_until(lambda: not passes(), 20, "the policies to be enforced")
        with applied(lab, NAMESPACE, *policies(opening=opening)):
            assert said()[0] == "ok"
            wait_until(passes, 20, "the policies to let it pass")
