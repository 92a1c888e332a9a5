"""The shadow pod on a real cluster: it starts where it may, and every way it cannot is named at once."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import ktpy
from ktpy.cluster import rbac
from tests.lab import Lab, LabError
from tests.lab.layout import REPOSITORY
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

IMAGE = f"ghcr.io/ktpy/agent:{ktpy.__version__}"
NAMESPACE = "cluster-shadow"
POD_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Lab]:
    """The lab with a namespace that enforces Pod Security `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(lab, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    yield lab
    lab.kubectl("delete", "namespace", NAMESPACE)


def apply(lab: Lab, *objects: dict[str, Any]) -> None:
    lab.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@contextmanager
def applied(lab: Lab, *objects: dict[str, Any]) -> Iterator[None]:
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=manifest)


def probe(lab: Lab, *arguments: str, kubeconfig: Path | None = None) -> list[dict[str, Any]]:
    """What cluster_probe.py tells when it is run on the laptop."""
    command = [sys.executable, "-m", "tests.e2e.cluster_probe", *arguments]
    env = {"PYTHONPATH": str(REPOSITORY)} | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    done = lab.exec(command, env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def shadow(
    lab: Lab, *, image: str = IMAGE, namespace: str = NAMESPACE, timeout_s: float = POD_TIMEOUT_S, **options: Any
) -> dict[str, Any]:
    """One shadow pod's life: all that was told, in one dictionary; stages by their name."""
    told: dict[str, Any] = {}
    for line in probe(lab, "--namespace", namespace, "shadow", image, str(timeout_s), **options):
        told |= {line["stage"]: line["after_s"]} if "stage" in line else line
    return told


def leftovers(lab: Lab, namespace: str = NAMESPACE) -> list[str]:
    found = lab.kubectl("-n", namespace, "get", "jobs,pods", "-o", "name", "-l", "app.kubernetes.io/managed-by=ktpy")
    return found.split()


def test_it_starts_and_leaves_nothing(cluster: Lab) -> None:
    told = shadow(cluster)
    assert "error" not in told
    assert told["started"] > 0
    assert told["host_key"].startswith("ssh-ed25519 AAAA")
    assert told["deadline"] is None
    wait_until(lambda: leftovers(cluster) == [], 10, "Job and pod to go")


@pytest.mark.parametrize(
    ("image", "reason"), [("registry.invalid/none:1", "ErrImagePull"), ("Not An Image", "InvalidImageName")]
)
def test_an_image_that_cannot_be_pulled(cluster: Lab, image: str, reason: str) -> None:
    told = shadow(cluster, image=image)
    assert told["error"] == "ImagePullFailed"
    assert reason in told["message"]
    assert told["gave_up_after_s"] < POD_TIMEOUT_S


def test_an_image_that_wants_to_be_root(cluster: Lab) -> None:
    told = shadow(cluster, image="localhost/coredns:1")
    assert (told["error"], "will run as root" in told["message"]) == ("PodFailed", True)


def test_a_quota(cluster: Lab) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    with applied(cluster, quota):
        told = shadow(cluster)
    assert told["error"] == "QuotaExceeded"
    assert "exceeded quota: small" in told["message"]
    assert told["gave_up_after_s"] < 5


def test_an_admission_policy(cluster: Lab) -> None:
    kind = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cluster-policy"}}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "cluster-policy"}}
    policy = {
        "apiVersion": kind,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-pods-at-all"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [{"expression": "false", "message": "only on weekdays"}],
        },
    }
    binding = {
        "apiVersion": kind,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-pods-at-all"},
        "spec": {"policyName": "no-pods-at-all", "validationActions": ["Deny"]},
    }

    def is_in_force() -> bool:
        try:
            cluster.kubectl("-n", "cluster-policy", "run", "trial", "--image=x", "--dry-run=server")
        except LabError as refused:
            return "only on weekdays" in str(refused)
        return False

    with applied(cluster, namespace, policy, binding):
        wait_until(is_in_force, 20, "the policy to be in force")
        told = shadow(cluster, namespace="cluster-policy")
    assert told["error"] == "PodSecurityRefused"
    assert "only on weekdays" in told["message"]
    assert told["gave_up_after_s"] < 5


def test_no_node(cluster: Lab) -> None:
    node = cluster.kubectl("get", "nodes", "-o", "name").strip()
    cluster.kubectl("cordon", node)
    try:
        told = shadow(cluster)
    finally:
        cluster.kubectl("uncordon", node)
    assert told["error"] == "PodUnschedulable"
    assert "0/1 nodes are available" in told["message"]
    assert told["gave_up_after_s"] < 10


def test_no_namespace(cluster: Lab) -> None:
    assert shadow(cluster, namespace="absent")["error"] == "NamespaceAbsent"


class TestRights:
    """A user who has nothing but what is documented."""

    @pytest.fixture
    def kubeconfig(self, cluster: Lab) -> Path:
        return cluster.kubeconfig("carol@example.org")

    def grant(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        role, binding = yaml.safe_load_all(rbac.manifest(NAMESPACE, "carol@example.org", whole_cluster=False))
        return [role | {"rules": rules}, binding]

    def test_the_documented_role_is_enough(self, cluster: Lab, kubeconfig: Path) -> None:
        rules = [rule.document() for rule in rbac.CONNECT]
        with applied(cluster, *self.grant(rules)):
            told = shadow(cluster, kubeconfig=kubeconfig)
        assert "error" not in told
        assert told["host_key"] is None  # pods/log is optional
        assert told["deadline"] is None

    def test_what_is_forbidden_is_named_until_all_is_granted(self, cluster: Lab, kubeconfig: Path) -> None:
        """Each refusal's hint, granted as it stands, takes one step further; none asks for more than is documented."""
        granted: list[dict[str, Any]] = []
        objects = self.grant(granted)
        with applied(cluster, *objects):
            for _ in range(10):
                told = shadow(cluster, kubeconfig=kubeconfig)
                if told.get("error") != "Forbidden":
                    break
                granted += yaml.safe_load(told["hint"].partition("\n")[2])
                apply(cluster, *self.grant(granted))
        assert "error" not in told
        documented = {
            (rule.group, rule.resource, verb) for rule in (*rbac.CONNECT, *rbac.CONNECT_OPTIONAL) for verb in rule.verbs
        }
        asked = {(rule["apiGroups"][0], rule["resources"][0], rule["verbs"][0]) for rule in granted}
        assert asked <= documented
