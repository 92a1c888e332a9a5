from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.steps import Step
from ktpy.errors import ApiUnreachable, Forbidden, KtpyError
from ktpy.kube.refusals import NeverSent


class Lease:
    """In place of OwnLease."""

    def __init__(self, course: list[str], refusal: KtpyError | None = None) -> None:
        self._course, self._refusal = course, refusal

    async def claim(self) -> None:
        self._course.append("claim")
        if self._refusal is not None:
            raise self._refusal


def change_of(course: list[str], refusal: KtpyError | None = None) -> ClusterChange:
    async def note(name: str) -> None:
        course.append(name)

    def step(name: str) -> Step:
        return Step(name, lambda: note(name))

    lease: Any = Lease(course, refusal)
    pods: Any = SimpleNamespace()
    return ClusterChange(
        lease,
        pods,
        checks=[step("check")],
        preparation=[step("prepare")],
        redirection=[step("redirect")],
        exit=[step("exit")],
    )


async def test_checks_come_before_the_lease_and_who_joins_before_the_redirection() -> None:
    course: list[str] = []

    async def join() -> None:
        course.append("join")

    await change_of(course).enter(join=join)
    assert course == ["check", "claim", "prepare", "join", "redirect"]


async def test_without_a_lease_there_is_nothing_to_leave() -> None:
    course: list[str] = []
    own = change_of(course)
    await own.entry[0].run()
    await own.leave()
    assert course == ["check"]


async def test_the_claim_alone_has_to_be_undone() -> None:
    course: list[str] = []
    own = change_of(course)
    await own.entry[1].run()
    await own.leave()
    assert course == ["claim", "exit"]


@pytest.mark.parametrize(
    ("refusal", "rest"),
    [(Forbidden("No."), []), (NeverSent("No."), []), (ApiUnreachable("Was it taken?"), ["exit"])],
)
async def test_a_claim_that_was_refused_has_nothing_to_undo(refusal: KtpyError, rest: list[str]) -> None:
    course: list[str] = []
    own = change_of(course, refusal)
    with pytest.raises(type(refusal)):
        await own.enter()
    await own.leave()
    assert course == ["check", "claim", *rest]
