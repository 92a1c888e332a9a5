"""The versions that `ktpy version` shows: of this ktpy, of the cluster, and of the agents there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ktpy import __version__
from ktpy.cluster.pods.image import DEFAULT_IMAGE
from ktpy.errors import KtpyError
from ktpy.kube.supported import NEWEST, OLDEST, support_of
from ktpy.wire.version import UNDERSTOOD, VERSION

if TYPE_CHECKING:
    from ktpy.kube.client import Api
    from ktpy.observe.status import ConnectStatus

PATIENCE_S: Final = 3.0
"""The cluster is not waited for longer."""


def versions(own: "Sequence[ConnectStatus]", place: dict[str, str | None] | None) -> dict[str, Any]:
    """Return what `ktpy version --output json` prints.

    `own` are this user's connections, whose agents have told their versions. Without a `place` no cluster is asked;
    what it does not say otherwise is among the `remarks`.
    """
    found: dict[str, Any] = {
        "version": __version__,
        "image": DEFAULT_IMAGE,
        "protocol": {"version": VERSION, "oldest": UNDERSTOOD[0], "newest": UNDERSTOOD[-1]},
        "kubernetes": {"oldest": OLDEST, "newest": NEWEST},
        "server": None,
        "agents": [],
        "remarks": [],
    }
    if own or place is not None:
        _ask(found, own, place)
    return found


def _ask(found: dict[str, Any], own: "Sequence[ConnectStatus]", place: dict[str, str | None] | None) -> None:
    import asyncio  # it, and the client of the API server, take longer to import than all else here

    from ktpy.cluster.changes import agents
    from ktpy.sessions.once import ClusterRef

    def note(context: str, namespace: str, agent: agents.Agent) -> None:
        told = next((one.agent for one in own if one.pod == agent.pod and one.agent), agent.version)
        found["agents"].append({"context": context, "namespace": namespace, **agent.data(told)})

    async def look(api: "Api") -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                version = str((await api.request("GET", "/version")).get("gitVersion", ""))
                found["server"] = {"context": api.target.context, "version": version, "support": support_of(version)}
                for agent in await agents.find(api):
                    note(api.target.context, api.namespace, agent)
        except TimeoutError:
            found["remarks"].append(f"The API server did not answer within {PATIENCE_S:g} s.")
        except KtpyError as error:
            found["remarks"].append(error.message)

    if place is not None:
        try:
            ClusterRef(**place).run(look)
        except KtpyError as error:  # there is no kubeconfig, or no such context
            found["remarks"].append(error.message)
    seen = {one["pod"] for one in found["agents"]}
    for one in own:
        if one.pod and one.pod not in seen:
            note(one.context, one.namespace, agents.Agent(one.pod))
