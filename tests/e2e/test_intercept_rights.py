"""A user who is no administrator intercepts, with exactly the rights that README.md asks for."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from ktpy.cluster import rbac
from ktpy.kube.rights import Rule
from tests.e2e.kit.rights import granted, role
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED
from tests.lab import Lab
from tests.lab.sessions.intercept import ktpys_objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "carol@example.org"
EXCHANGE = ("exchange", "web", *EXPOSED, "--", "true")
FORBIDDEN = 14
VERBS_MOST = 40


@pytest.fixture
def kubeconfig(lab: Lab) -> Path:
    return lab.kubeconfig(USER)


def ktpy(lab: Lab, kubeconfig: Path, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return lab.exec(["ktpy", command, "--kubeconfig", str(kubeconfig), "-n", NAMESPACE, *arguments], user="dev")


@pytest.mark.parametrize(
    "command",
    [
        EXCHANGE,
        ("mesh", "web", *EXPOSED, "--", "true"),
        ("preview", "pay", *EXPOSED, "--", "true"),
        ("list",),
        ("clean",),
        ("recover", "web"),
    ],
    ids=lambda command: command[0],
)
def test_the_documented_role_is_enough(lab: Lab, web: str, kubeconfig: Path, command: tuple[str, ...]) -> None:
    with granted(lab, role(rbac.INTERCEPT, USER)):
        done = ktpy(lab, kubeconfig, *command)
    assert done.returncode == 0, done.stderr


def test_what_is_forbidden_is_named_until_all_is_granted(lab: Lab, web: str, kubeconfig: Path) -> None:
    """Each refusal's hint, granted as it stands, takes one step further; none asks for more than is documented.

    What one was not allowed to undo, a later one undoes first.
    """
    rules: list[Rule] = []
    with granted(lab, role(rules, USER)):
        for _ in range(VERBS_MOST):
            done = ktpy(lab, kubeconfig, *EXCHANGE)
            if done.returncode != FORBIDDEN:
                break
            [asked] = yaml.safe_load(done.stderr.rpartition("\nhint: ")[2].partition("\n")[2])
            [group], [resource], [verb] = asked["apiGroups"], asked["resources"], asked["verbs"]
            rules.append(Rule(group, resource, (verb,)))
            lab.kubectl("apply", "-f", "-", stdin=role(rules, USER))
    assert done.returncode == 0, done.stderr
    documented = {(rule.group, rule.resource, verb) for rule in rbac.INTERCEPT for verb in rule.verbs}
    assert {(rule.group, rule.resource, *rule.verbs) for rule in rules} <= documented
    assert [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")] == []
