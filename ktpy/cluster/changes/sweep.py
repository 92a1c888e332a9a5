"""What dead sessions have left in the cluster: `ktpy clean`, and what a command mends before it begins."""

from dataclasses import dataclass

from ktpy.cluster.changes import preview
from ktpy.cluster.changes.inventory import Session, Target, survey
from ktpy.cluster.changes.leaving import Leaving
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from ktpy.cluster.steps import run_steps
from ktpy.errors import KtpyError
from ktpy.kube.client import Api

_UNUSED = "no live session uses it"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that `remove` takes away."""

    kind: str
    namespace: str
    name: str
    reason: str


def leftovers_of(target: Target, expired_after_s: float = EXPIRED_AFTER_S) -> list[Leftover]:
    """What would go, in the order in which it goes. Pure."""
    dead = target.dead(expired_after_s)
    found = [Leftover("session", target.namespace, f"{target.name}/{one.id}", _why(one)) for one in dead]
    if len(dead) < len(target.sessions):
        return found  # the living go on using all of it
    if target.is_redirected or target.has_annotation:
        found.append(Leftover("interception", target.namespace, target.name, _UNUSED))
    return found + [Leftover(kind, target.namespace, name, _UNUSED) for kind, name in target.objects]


async def find(api: Api, namespace: str | None, *, expired_after_s: float = EXPIRED_AFTER_S) -> list[Leftover]:
    """What dead sessions have left in one namespace, or in all (None); live ones and theirs are not in it."""
    targets = await survey(api, namespace)
    return [leftover for target in targets for leftover in leftovers_of(target, expired_after_s)]


async def remove(
    api: Api, namespace: str | None, *, expired_after_s: float = EXPIRED_AFTER_S
) -> tuple[list[Leftover], list[KtpyError]]:
    """Remove what `find` finds. The answer: what is gone, and what went wrong; one failure does not stop the rest.

    A session that proves to be alive at the last moment (its Lease cannot be deleted in the version that was judged)
    keeps all of its own.
    """
    removed: list[Leftover] = []
    failures: list[KtpyError] = []
    for target in await survey(api, namespace):
        if not (leftovers := leftovers_of(target, expired_after_s)):
            continue
        try:
            dead = await _bury(api, target.dead(expired_after_s))
            if dead or not target.sessions:
                await _remove_from(api, target, dead)
                names = {f"{target.name}/{one}" for one in dead}
                is_deserted = len(dead) == len(target.sessions)
                removed += [one for one in leftovers if (one.name in names if one.kind == "session" else is_deserted)]
        except KtpyError as failure:
            failures.append(failure)
    return removed, failures


async def _remove_from(api: Api, target: Target, dead: frozenset[str]) -> None:
    if target.is_preview:
        for session in sorted(dead):
            await run_steps(preview.removal(api, target.namespace, target.name, session))
    else:
        await run_steps(Leaving(api, target.namespace, target.name, dead).steps_for_known)


async def _bury(api: Api, dead: list[Session]) -> frozenset[str]:
    buried = await lease.expire(api, [one.lease for one in dead if one.lease is not None])
    return buried | {one.id for one in dead if one.lease is None}


def _why(session: Session) -> str:
    if session.lease is None:
        return f"of {session.owner}, whose lease is gone"
    return f"of {session.owner}, not heard from for {session.lease.age_s or 0:.0f} s"
