"""The pods of a gateway come and go, as pods do."""

import os

import pytest

from tests.e2e.intercepted import EXPOSED, LOCAL
from tests.e2e.intercepts import intercepting
from tests.e2e.local_server import serving
from tests.e2e.shop import NAMESPACE
from tests.e2e.visitors import Visitors
from tests.e2e.visits import until_answered
from tests.lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

PODS = ("pod", "-l", "ktpy.dev/gateway=web")
TIMEOUT_S = 60


def test_one_that_is_deleted_serves_until_another_does(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
        until_answered(visitors, "local")
        lab.kubectl("-n", NAMESPACE, "delete", *PODS, "--wait=true", timeout_s=TIMEOUT_S)
        until_answered(visitors, "local")
    until_answered(visitors, "web")


def test_each_of_two_leads_to_the_laptop(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED, "--replicas", "2"):
        lab.kubectl("-n", NAMESPACE, "wait", *PODS, "--for=condition=Ready", timeout_s=TIMEOUT_S)
        assert len(lab.kubectl("-n", NAMESPACE, "get", *PODS, "-o", "name").split()) == 2
        until_answered(visitors, "local")
    until_answered(visitors, "web")
