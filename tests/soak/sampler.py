"""All figures of one moment: of each session's processes, of each pod of ktpy's, and how many objects ktpy has."""

from collections import defaultdict
from typing import Any

from tests.soak import processes, scenario
from tests.soak.processes import Process
from tests.soak.samples import Sample, Series
from tests.soak.scenario import NAMESPACE, Scenario

GAUGES = ("open_flows", "datagram_flows", "routes")
"""Of `ktpy status`, those that go up and down."""
KINDS = {
    "pods": "api/v1",
    "services": "api/v1",
    "jobs": "apis/batch/v1",
    "deployments": "apis/apps/v1",
    "leases": "apis/coordination.k8s.io/v1",
}
WITH_A_ROLE = "labelSelector=ktpy.dev%2Frole"
"""Also a dev pod, which is not managed by ktpy: it is the workload's own."""


def sample(standing: Scenario, at_s: float) -> list[Sample]:
    """What there is now. A session that has ended has no figures."""
    found: dict[tuple[str, str], float] = {}
    everything = processes.all_processes()
    roots = standing.roots()
    helper = roots.get("connect helper")
    for name, root in roots.items():
        pids = processes.with_descendants(root, everything)
        taken = [pid for pid in pids if name == "connect helper" or pid != helper]
        found |= {(name, figure): value for figure, value in processes.figures(taken).items()}
    told = scenario.status(standing.lab)
    found |= _gauges(told)
    listed = _objects(standing)
    found |= {("ktpy in the cluster", kind): float(len(items)) for kind, items in listed.items()}
    shadows = {str(one["pod"]): str(one["kind"]) for one in told if one.get("pod")}
    for name, in_pod in _pods(listed.get("pods", []), shadows).items():
        for program, pids in _by_program(in_pod, everything).items():
            found |= {(f"{name}: {program}", figure): value for figure, value in processes.figures(pids).items()}
    return [Sample(at_s, Series(who, figure), value) for (who, figure), value in found.items()]


def _gauges(told: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    return {
        (str(one["mode"] if one["kind"] == "forward" else one["kind"]), gauge): float(one[gauge])
        for one in told
        for gauge in GAUGES
        if gauge in one
    }


def _objects(standing: Scenario) -> dict[str, list[dict[str, Any]]]:
    """Those of ktpy's, by kind; a kind that the API server does not tell now is left out."""
    listed = {
        kind: standing.lab.api.get(f"/{group}/namespaces/{NAMESPACE}/{kind}?{WITH_A_ROLE}")
        for kind, group in KINDS.items()
    }
    return {kind: found["items"] for kind, found in listed.items() if found is not None}


def _pods(items: list[dict[str, Any]], shadows: dict[str, str]) -> dict[str, list[str]]:
    """The uids of the pods, by what they are for: those that stand, and none of a session that begins and ends."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in items:
        metadata = one["metadata"]
        role = metadata["labels"].get("ktpy.dev/role", "")
        owner = shadows.get(metadata["name"]) if role == "shadow" else metadata["labels"].get("ktpy.dev/gateway")
        if "deletionTimestamp" not in metadata and (owner or role not in ("shadow", "gateway")):
            found[f"{role} of {owner}" if owner else role].append(metadata["uid"])
    return found


def _by_program(uids: list[str], everything: list[Process]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for process in everything:
        if any(f"pod{uid}" in process.cgroup for uid in uids):
            found[process.program].append(process.pid)
    return found
