"""What `ktpy connect` leaves in a cluster when it is killed: a Job, which `ktpy.cluster.pods.shadow` creates."""

from datetime import datetime, timedelta

from ktpy.cluster.names import MANAGED_BY, ROLE
from ktpy.cluster.pods.shadow_manifest import START_MARGIN_S
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, metadata_of
from ktpy.kube.resources import JOBS


async def dead_jobs(api: Api, namespace: str | None) -> list[Json]:
    """Return the Jobs of dead sessions in one namespace, or in all (None); none where Jobs may not be listed.

    A session is dead whose Job is close to its deadline by the API server's time: while it starts it gives up before
    that, and later it puts the deadline off. A Job without a deadline is of an older ktpy, and ends by itself.
    """
    try:
        answer, now = await api.dated(JOBS.path(namespace), query={"labelSelector": f"{MANAGED_BY}=ktpy,{ROLE}=shadow"})
    except Forbidden:
        return []
    return [job for job in answer.get("items") or [] if is_dead(job, now)]


def is_dead(job: Json, now: datetime) -> bool:
    """Whether the laptop has given its Job up."""
    deadline_s = job["spec"].get("activeDeadlineSeconds")
    if deadline_s is None:
        return False
    created = datetime.fromisoformat(metadata_of(job)["creationTimestamp"])
    return now > created + timedelta(seconds=deadline_s - START_MARGIN_S)
