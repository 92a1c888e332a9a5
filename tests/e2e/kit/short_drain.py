"""A gateway that is told to go waits until no new connection has come for 1 s, not for 3 s: one node hears of it soon.

It is the lab's API server that sets the agent's variable in each gateway's pod, so that ktpy's objects are what they
are elsewhere.
"""

from typing import Any

from tests.e2e.kit.admission import adding

DRAIN_S = 1
NAME = "gateways-drain-for-a-short-time"
_GATEWAYS = {"matchExpressions": [{"key": "ktpy.dev/gateway", "operator": "Exists"}]}
_VARIABLE = f'Object.spec.containers.env{{name: "KTPY_DRAIN_S", value: "{DRAIN_S}"}}'


def policy() -> list[dict[str, Any]]:
    return adding(NAME, _GATEWAYS, ("/spec/containers/0/env/-", _VARIABLE))
