"""An object that one session has for itself, under a name that anybody could have taken."""

from contextlib import suppress

from ktpy.cluster.names import SESSION
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import labels_of, metadata_of
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.writes import delete


async def delete_own(api: Api, path: str, session: str, *, is_optional: bool = False) -> bool:
    """Delete the object if it is this session's. Returns False where it is gone, or somebody else's.

    Of what `is_optional` there is none for who may not see it. Raises Forbidden for who may see it, and not delete it.
    """
    with suppress(NotFound, Conflict):  # Conflict: the name is somebody else's now
        try:
            found = await api.request("GET", path)
        except Forbidden:
            if is_optional:
                return False
            raise
        if labels_of(found).get(SESSION) == session:
            await delete(api, path, metadata_of(found)["uid"])
            return True
    return False
