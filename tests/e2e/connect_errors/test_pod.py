"""What the cluster refuses: the namespace, and the pod."""

import pytest

from ktpy.cluster import rbac
from tests.e2e.connect_errors.failing import NAMESPACE, api_object, failing
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.faults import silent_server
from tests.e2e.kit.rights import asked_for
from tests.e2e.kit.workloads import applied, until_counted
from tests.lab import Lab
from tests.lab.images import COREDNS_IMAGE
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until


class TestNamespace:
    def test_no_rights(self, lab: Lab) -> None:
        """Which refusal comes first is chance: the pods are watched while the Job is created."""
        failed = failing(lab, kubeconfig=lab.kubeconfig("nobody@example.org"))
        assert failed.exit_code == 14
        assert failed.message in {
            f"nobody@example.org may not {action} in namespace {NAMESPACE}."
            for action in ("create jobs.batch", "list pods")
        }
        asked = {rule.resource: set(rule.verbs) for rule in asked_for(failed.hint)}
        assert asked == {rule.resource: set(rule.verbs) for rule in rbac.CONNECT}

    def test_absent(self, lab: Lab) -> None:
        failed = attempt(lab, "--namespace", "absent")
        assert (failed.exit_code, failed.message) == (15, "Namespace absent does not exist.")

    def test_no_name_for_one(self, lab: Lab) -> None:
        assert attempt(lab, "--namespace", "../x").exit_code in (2, 15, 16)


class TestPod:
    def test_no_node_takes_it(self, lab: Lab) -> None:
        node = lab.kubectl("get", "nodes", "-o", "name").strip()
        lab.kubectl("cordon", node)
        try:
            failed = failing(lab)
        finally:
            lab.kubectl("uncordon", node)
        assert failed.exit_code == 20
        assert "0/1 nodes are available" in failed.message

    @pytest.mark.parametrize("image", ["registry.invalid/none:1", "Not An Image"])
    def test_its_image_cannot_be_pulled(self, lab: Lab, image: str) -> None:
        failed = failing(lab, "--image", image)
        assert failed.exit_code == 21
        assert image in failed.message + failed.hint
        assert "--image" in failed.hint

    def test_quota(self, lab: Lab) -> None:
        with applied(lab, NAMESPACE, api_object("ResourceQuota", "small", spec={"hard": {"requests.memory": "1Mi"}})):
            until_counted(lab, NAMESPACE, "small")
            failed = failing(lab)
        assert failed.exit_code == 22
        assert "exceeded quota: small" in failed.message

    def test_limit_range(self, lab: Lab) -> None:
        limits = [{"type": "Container", "max": {"memory": "1Mi"}}]
        with applied(lab, NAMESPACE, api_object("LimitRange", "tight", spec={"limits": limits})):
            failed = failing(lab)
        assert failed.exit_code == 22
        assert "memory" in failed.message

    def test_a_policy_refuses_it(self, lab: Lab) -> None:
        group = "admissionregistration.k8s.io/v1"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
        policy = api_object(
            "ValidatingAdmissionPolicy",
            "ktpy-errors",
            spec={
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
                "validations": [{"expression": "object.kind == 'Event'", "message": "only on weekdays"}],
            },
        )
        binding = api_object(
            "ValidatingAdmissionPolicyBinding",
            "ktpy-errors",
            spec={"policyName": "ktpy-errors", "validationActions": ["Deny"]},
        )
        trial = ["kubectl", "-n", NAMESPACE, "create", "configmap", "trial", "--dry-run=server"]
        with applied(lab, NAMESPACE, policy | {"apiVersion": group}, binding | {"apiVersion": group}):
            wait_until(lambda: "only on weekdays" in lab.exec(trial).stderr, 60, "the policy to be in force")
            failed = failing(lab)
        wait_until(lambda: lab.exec(trial).returncode == 0, 60, "the policy to be forgotten by the API server")
        assert failed.exit_code == 23
        assert "only on weekdays" in failed.message

    def test_it_is_not_ready_in_time(self, lab: Lab) -> None:
        with silent_server(lab.layout.node_netns_path) as registry:
            failed = failing(lab, "--image", f"{NODE_IPV4}:{registry}/slow:1", "--pod-timeout", "3")
        assert failed.exit_code == 24
        assert "within 3 s: " in failed.message
        assert "--pod-timeout" in failed.hint

    def test_it_fails(self, lab: Lab) -> None:
        failed = failing(lab, "--image", COREDNS_IMAGE)
        assert failed.exit_code == 25
        assert "will run as root" in failed.message
