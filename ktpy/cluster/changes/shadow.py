"""The kind of change that `ktpy connect` makes: a Job with a shadow pod. `ktpy.cluster.pods.shadow` creates it."""

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
    """Return the steps that delete the Jobs of these sessions in the namespace of `interceptee`."""
    return tuple(
        Step("delete the job", partial(delete_own, api, JOBS.path(interceptee.namespace, shadow_name(one)), one))
        for one in sorted(sessions)
    )


SHADOW = Kind("shadow", roles=frozenset({"shadow"}), remains=(Remains("job", JOBS),), removal=removal)
