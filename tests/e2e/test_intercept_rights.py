"""A user who is no administrator intercepts, with exactly the rights that docs/team.md asks for."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from ktpy.cluster import rbac
from ktpy.kube.rights import Rule
from tests.e2e.kit.rights import asked_for, granted, role
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED
from tests.lab import Lab
from tests.lab.sessions.intercept import ktpys_objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "carol@example.org"
EXCHANGE = ("exchange", "web", *EXPOSED, "--", "true")
FORBIDDEN = 14


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


def test_rights_to_read_are_enough_to_see_who_is_there(lab: Lab, kubeconfig: Path) -> None:
    with granted(lab, role(rbac.WHO, USER)):
        done = ktpy(lab, kubeconfig, "who")
    assert (done.returncode, done.stderr) == (0, "")
    refused = ktpy(lab, kubeconfig, "who")
    assert (refused.returncode, refused.stderr.count("error: ")) == (0, 3)


def test_one_refusal_names_all_that_is_missing(lab: Lab, web: str, kubeconfig: Path) -> None:
    """What it asks for, granted as it stands, is enough, and no more than is documented."""
    refused = ktpy(lab, kubeconfig, *EXCHANGE)
    assert refused.returncode == FORBIDDEN, refused.stderr
    assert f"ktpy rbac {NAMESPACE} {USER} --intercept" in refused.stderr.splitlines()[-1]
    rules = asked_for(refused.stderr)
    with granted(lab, role(rules, USER)):
        done = ktpy(lab, kubeconfig, *EXCHANGE)
    assert done.returncode == 0, done.stderr
    assert verbs(rules) <= verbs(rbac.INTERCEPT)
    assert [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")] == []


def verbs(rules: Iterable[Rule]) -> set[tuple[str, str, str]]:
    return {(rule.group, rule.resource, verb) for rule in rules for verb in rule.verbs}
