"""The surroundings of a workload's pod, as a shadow pod that wears its clothes tells of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ktpy.cluster.pods.claims import placement_beside
from ktpy.cluster.pods.clothes import Clothes, clothes_of
from ktpy.cluster.pods.overlay import overlaid
from ktpy.cluster.pods.volumes import ClaimAccess
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.running_pod import RunningPod, running_pod
from ktpy.cluster.service.workload import find_workload
from ktpy.errors import PodFailed
from ktpy.kube.client import Api
from ktpy.sessions.options import LAPTOPS_OWN, EnvironmentEdits, WorkloadChoice
from ktpy.wire.surroundings import COMMAND, PodEnvironment

if TYPE_CHECKING:
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

_OF_ITS_IMAGE: Final = re.compile(r"LD_.*|BASH_FUNC_.*|BASH_ENV|PYTHONHOME", re.DOTALL)
"""Loaders and shells obey these before a program does, and they name places in the workload's image."""


@dataclass(frozen=True, slots=True)
class Wardrobe:
    """A Wardrobe holds the clothes of a workload's container, for however many shadow pods a session needs."""

    workload: str
    """KIND/NAME."""
    clothes: Clothes
    service: str | None = None
    """The Service by which the user named it."""
    running: RunningPod | None = None
    """Whose environment is wanted."""

    def overlay(self, of_user: Mapping[str, Any]) -> dict[str, Any]:
        """Return the overlay of a shadow pod that wears them; what the user wants otherwise counts more."""
        return overlaid(self.clothes.overlay, of_user)

    def completed(self, told: "PodSurroundings") -> "PodSurroundings":
        """Return what the shadow pod tells, with the environment of the running pod where that is wanted."""
        if self.running is None:
            return told
        own = {name: value for name, value in told.environment.items() if name in self.clothes.own_names}
        return replace(told, environment={**self.running.environment, **own})


@dataclass(frozen=True, slots=True)
class PodSurroundings:
    """PodSurroundings are what a program finds in the place of its workload's pod."""

    environment: Mapping[str, str]
    secret_names: frozenset[str]
    """The values of these variables hold secrets."""
    host_name: str
    pod_ip: str

    def environment_for(
        self, laptops: Mapping[str, str], edits: EnvironmentEdits, of_ktpy: Mapping[str, str] = {}
    ) -> dict[str, str]:
        """Return the environment of a program: the laptop's, over that the pod's, over that ktpy's own, over that what
        the user wants."""
        held_back = {*LAPTOPS_OWN, *self.left_out}
        of_pod = {name: value for name, value in self.environment.items() if name not in held_back}
        return edits.applied({**laptops, **of_pod, "HOSTNAME": self.host_name, **of_ktpy})

    @property
    def left_out(self) -> list[str]:
        """The names of variables that no program on the laptop gets from the workload."""
        return [name for name in self.environment if _OF_ITS_IMAGE.fullmatch(name)]


async def open_wardrobe(
    api: Api,
    choice: WorkloadChoice,
    image: str,
    *,
    with_files: bool = False,
    access: ClaimAccess = ClaimAccess.NONE,
) -> Wardrobe:
    """Find the workload; `image` is the agent's. Nothing is changed.

    Raises what `find_workload`, `clothes_of`, `placement_beside` and `running_pod` raise.
    """
    workload = await find_workload(api, Reference.parse(choice.target))
    clothes = clothes_of(
        workload.template,
        choice.container,
        image,
        with_files=with_files,
        access=access,
        claims_of_set=workload.claims_of_set,
    )
    if access is not ClaimAccess.NONE:
        placement = await placement_beside(
            api, {one.claim for one in clothes.mounts if one.claim}, "--volumes none leaves the claims out."
        )
        clothes = replace(clothes, overlay=overlaid(clothes.overlay, {"spec": placement}))
    running = await running_pod(api, workload, choice.container) if choice.from_pod else None
    return Wardrobe(str(workload.reference), clothes, workload.service, running)


async def fetch_surroundings(uplink: "Uplink[AgentHello]", clothes: Clothes) -> PodSurroundings:
    """Ask the shadow pod that wears the clothes. The uplink must run meanwhile.

    Raises PodFailed for an agent that cannot tell, and what `Uplink.output_of` raises.
    """
    answer = b"".join([part async for part in uplink.output_of(COMMAND)])
    try:
        told = PodEnvironment.parse(answer)
    except ValueError as exc:
        raise PodFailed(
            f"The agent in the pod does not tell of the workload's environment: {exc}.",
            hint="Use the image that belongs to this version of ktpy, see --image.",
        ) from exc
    return PodSurroundings(told.variables, clothes.all_secret_names(told.secret_names), told.host_name, told.pod_ip)
