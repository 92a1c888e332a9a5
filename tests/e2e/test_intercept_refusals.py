"""What is refused, with a sentence, and nothing changed."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED
from tests.e2e.kit.workloads import applied, service
from tests.lab import Lab
from tests.lab.sessions.intercept import ktpys_objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

REFUSALS = {
    "absent service": (["exchange", "wbe", *EXPOSED], 50, "There is no service wbe", "web"),
    "absent pod": (["exchange", "pod/none", *EXPOSED], 50, "There is no pod/none", ""),
    "no selector": (["exchange", "bare", *EXPOSED], 52, "has no selector", ""),
    "SCTP": (["exchange", "sctp", *EXPOSED], 52, "SCTP", ""),
    "mesh of TLS": (["mesh", "secure", "--expose", "3001:443"], 52, "TLS", ""),
    "absent port": (["exchange", "web", "--expose", "3001:81"], 53, "no port 81", "80 (http)"),
    "ambiguous port": (["exchange", "echo", "--expose", "3001"], 53, "does not say which port", "7 (echo-tcp)"),
    "ExternalName": (["exchange", "supplier", *EXPOSED], 52, "supplier.example.org", ""),
    "StatefulSet": (["exchange", "store", "--expose", "3001:8080"], 52, "headless", ""),
    "TCP or UDP": (["exchange", "echo", "--expose", "3001:7"], 53, "whether TCP or UDP is meant", "3001:7/udp"),
    "mesh of UDP": (["mesh", "echo", "--expose", "3001:echo-udp"], 52, "UDP has none", "ktpy exchange"),
    "mesh of TCP": (["mesh", "echo", "--expose", "3001:7"], 52, "is HTTP", "--protocol http"),
    "preview of a service": (["preview", "web", *EXPOSED], 55, "exists", "ktpy exchange web"),
    "preview name": (["preview", "Web", *EXPOSED], 52, "cannot be the name", ""),
    "absent command": (["exchange", "web", *EXPOSED, "--", "no-such-command"], 61, "no-such-command", ""),
    "absent namespace": (["exchange", "web", *EXPOSED, "-n", "nowhere"], 15, "nowhere", ""),
    "other namespace": (["exchange", "web", *EXPOSED, "-n", "default"], 50, "There is no service web", NAMESPACE),
    "absent kind": (["exchange", "wizard/web", *EXPOSED], 2, "no kind for wizard/web", "KIND/NAME"),
    "absent of a kind": (["exchange", "deployment.apps/none", *EXPOSED], 50, "There is no deployment.apps/none", ""),
}


@pytest.fixture(scope="module", autouse=True)
def _unsuitable(lab: Lab) -> Iterator[None]:
    """Services before no pods, each of them unsuitable in its own way."""
    services = [
        service("bare", {"name": "http", "port": 80}),
        service("sctp", {"name": "s", "port": 80, "protocol": "SCTP"}, app="nobody"),
        service("secure", {"name": "tls", "port": 443}, app="nobody"),
    ]
    del services[0]["spec"]["selector"]
    with applied(lab, NAMESPACE, *services):
        yield


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_with_nothing_changed(name: str, lab: Lab, web: str) -> None:
    arguments, exit_code, message, hint = REFUSALS[name]
    refused = attempt(lab, command=["ktpy", arguments[0], "-n", NAMESPACE, *arguments[1:]])
    assert (refused.exit_code, message in refused.message, hint in refused.hint) == (exit_code, True, True), refused
    assert ktpys_objects(lab, NAMESPACE) == []
