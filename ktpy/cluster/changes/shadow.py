"""The kind of change that `ktpy connect` makes: the Job of a shadow pod. `ktpy.cluster.pods.shadow` makes it."""

from collections.abc import Collection
from functools import partial

from ktpy.cluster.changes.change import Kind, Remains
from ktpy.cluster.names import shadow_name
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.cluster.steps import Step
from ktpy.kube.client import Api
from ktpy.kube.resources import JOBS


def removal(api: Api, interceptee: Interceptee, sessions: Collection[str]) -> tuple[Step, ...]:
    """The steps that delete the Jobs of these sessions; of `interceptee` only the namespace counts."""
    return tuple(
        Step("delete the job", partial(delete_own, api, JOBS.path(interceptee.namespace, shadow_name(one)), one))
        for one in sorted(sessions)
    )


SHADOW = Kind("shadow", roles=frozenset({"shadow"}), remains=(Remains("job", JOBS),), removal=removal)
