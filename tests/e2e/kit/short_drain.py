"""A gateway that is told to go waits until no new connection has come for 1 s, not for 3 s: one node hears of it soon.

It is the lab's API server that sets the agent's variable in each gateway's pod, so that ktpy's objects are what they
are elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kit.admission import PATH, adding
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.workloads import applied
from tests.lab import Lab

DRAIN_S = 1
NAME = "gateways-drain-for-a-short-time"
_GATEWAYS = {"matchExpressions": [{"key": "ktpy.dev/gateway", "operator": "Exists"}]}
_VARIABLE = f'Object.spec.containers.env{{name: "KTPY_DRAIN_S", value: "{DRAIN_S}"}}'


@contextmanager
def draining_shortly(lab: Lab) -> Iterator[None]:
    """Have it so while the block runs, from Kubernetes 1.36 on: before, it has no such policies."""
    if lab.api.get(PATH) is None:
        yield
        return
    with applied(lab, NAMESPACE, *adding(NAME, _GATEWAYS, ("/spec/containers/0/env/-", _VARIABLE))):
        yield
