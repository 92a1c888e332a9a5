"""The parts that all kinds of change in a cluster have in common. `ktpy.cluster.changes.registry` lists the kinds."""

from collections.abc import Awaitable, Callable, Collection, Iterable

from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.cluster.steps import Step, nothing, run_steps
from ktpy.errors import KtpyError
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.refusals import may_be_done
from ktpy.kube.resources import Resource

OnProgress = Callable[[PodProgress], None]
Guard = Callable[[Callable[[str], None]], Awaitable[None]]
"""A Guard follows, until cancelled, what others do to the change's objects; it calls back with what the user reads."""


class ClusterChange:
    """A ClusterChange is what one session changes in the cluster, from its first object to its last.

    undo.push_async_callback(change.leave)       # before `enter`: undoes it from wherever it stopped
    tasks.create_task(change.lease.keep(...))    # renews the Lease, once there is one
    tasks.create_task(...)                       # async for pods in change.pods.follow(): dial each
    await change.enter(on_step)                  # requests go to the gateway
    tasks.create_task(change.guard(on_notice))   # where there is a guard
    """

    def __init__(
        self,
        lease: OwnLease,
        pods: GatewayPods,
        *,
        checks: Iterable[Step] = (),
        preparation: Iterable[Step],
        redirection: Iterable[Step] = (),
        exit: Iterable[Step],  # noqa: A002 - the word for it
        guard: Guard | None = None,
    ) -> None:
        """`checks` change nothing; only the steps of `redirection` have an effect on the Service's clients."""
        self.lease = lease
        self.pods = pods
        self.guard = guard
        """None where nobody else has a part in the objects."""
        self.may_exist = False
        self._preparation = (*checks, Step("claim a lease", self._claim), *preparation)
        self._redirection = tuple(redirection)
        self.entry = self._preparation + self._redirection
        self.exit = tuple(exit)

    async def enter(
        self, on_step: Callable[[str], None] = lambda _: None, join: Callable[[], Awaitable[None]] = nothing
    ) -> None:
        """Make the change. Raises what the steps refuse, and what keeps a pod from running; then `leave`.

        `join` is awaited before requests go to the gateway: what it raises changes nothing for anybody.
        """
        await run_steps(self._preparation, on_step)
        await join()
        await run_steps(self._redirection, on_step)

    async def leave(self, on_step: Callable[[str], None] = lambda _: None) -> None:
        """Undo all of `enter`, from wherever it stopped. Raises RestoreIncomplete, and what the API server refuses."""
        self.pods.is_leaving = True
        if self.may_exist:
            await run_steps(self.exit, on_step)

    async def _claim(self) -> None:
        self.may_exist = True
        try:
            await self.lease.claim()
        except KtpyError as error:
            self.may_exist = may_be_done(error)
            raise


@dataclass(frozen=True, slots=True)
class Remains:
    """Remains are the objects of one resource that a change leaves when its session is killed."""

    kind: str
    """As `ktpy clean` names it: `deployment`."""
    resource: Resource
    is_optional: bool = False
    """Whether the cluster may have no such resource, and a user who may not list it cannot have made any."""


@dataclass(frozen=True, slots=True)
class InterceptKind:
    """An InterceptKind is a kind of change that brings requests for a Service to the laptop."""

    roles: frozenset[str]
    """What the label ktpy.dev/role of its objects may be."""
    remains: tuple[Remains, ...]
    removal: Callable[[Api, Interceptee, Collection[str]], tuple[Step, ...]]
    """The steps that take these sessions' changes back, wherever their entries stopped."""
    owns_service: bool
    """Whether the session makes the Service itself, so that no other session has a part in it."""
    prepare: Callable[[Api, InterceptOptions], Awaitable[InterceptPlan]]
    """Finds out what the change will be. Raises TargetAbsent, TargetUnsuitable, PortUnknown and the like."""
    change: Callable[[Api, InterceptPlan, SessionIdentity, OnProgress], ClusterChange]
    undoing: str
    """What it does when it ends: `giving {target} back`."""
    farewell: str
    """The last sentence to the user; `{target}` stands for the Service's name."""
    when_local_down: Callable[[InterceptOptions], str]
    """What becomes of requests while the local port does not answer: `go to the original pods`."""


def own_lease(api: Api, plan: InterceptPlan, session: SessionIdentity) -> OwnLease:
    """Make the Lease by which others see that the session is alive."""
    return OwnLease(
        api,
        session=session.id,
        owner=session.owner,
        target=plan.interceptee.name,
        description=plan.description,
        details=plan.details,
    )
