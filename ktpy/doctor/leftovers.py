"""What killed runs have left, on this laptop and in the cluster."""

from ktpy.cluster.changes import sweep
from ktpy.daemon.privileged import stale_journals
from ktpy.doctor.finding import Finding, State, failed
from ktpy.errors import Forbidden
from ktpy.kube.client import Api


def on_laptop() -> Finding:
    """See whether there is a journal whose session is gone."""
    left = [change for one in stale_journals() for change in one.left]
    if left:
        return Finding("laptop", State.WARNING, f"A killed ktpy has left: {', '.join(left)}.", "sudo ktpy clean")
    return Finding("laptop", State.OK, "No killed ktpy has left anything here.")


async def in_cluster(api: Api) -> Finding:
    """See what dead sessions of anybody's have left in the namespace."""
    try:
        found = await sweep.find(api, api.namespace)
    except Forbidden as error:
        return failed("leftovers", error, State.NOT_MADE)
    if found:
        names = ", ".join(f"{one.kind} {one.name}" for one in found)
        return Finding(
            "leftovers", State.WARNING, f"Dead sessions have left: {names}.", f"ktpy clean -n {api.namespace}"
        )
    return Finding("leftovers", State.OK, f"Nothing in namespace {api.namespace} is of a dead session.")
