"""An object that one session has for itself, under a name that anybody could have taken."""

from contextlib import suppress

from ktpy.cluster.names import SESSION
from ktpy.kube.client import Api
from ktpy.kube.objects import labels_of, metadata_of
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.writes import delete


async def delete_own(api: Api, path: str, session: str) -> bool:
    """Delete the object if it is this session's. Returns False where it is gone, or somebody else's."""
    with suppress(NotFound, Conflict):  # Conflict: the name is somebody else's now
        found = await api.request("GET", path)
        if labels_of(found).get(SESSION) == session:
            await delete(api, path, metadata_of(found)["uid"])
            return True
    return False
