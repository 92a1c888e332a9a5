"""The shadow pods of a session, one after the other, and the host key that each has printed."""

import asyncio
from typing import Any

import pytest

from ktpy.errors import ApiUnreachable, Forbidden, KtpyError, PodFailed
from ktpy.sessions.shadows import Shadows, printed_host_key


class Shadow:
    """What the API server answers, one after the other: an error, or the host key in the pod's log."""

    def __init__(self, *answers: KtpyError | str | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def push_deadline(self) -> None:
        self.asked += 1

    async def host_key(self) -> str | None:
        answer = self._answers.pop(0)
        if isinstance(answer, KtpyError):
            raise answer
        return answer


def shadow(*answers: KtpyError | str | None) -> Any:
    return Shadow(*answers)


async def test_who_is_cancelled_while_a_pod_is_found_lost_makes_no_other() -> None:
    """The session would never end, and its pods be made again and again."""
    made: list[Any] = []

    class Lost:
        """Its pod has failed; while its watches end, the session is told to."""

        async def create(self) -> None: ...

        async def delete(self) -> None: ...

        async def pod_name(self) -> str:
            await asyncio.sleep(0)
            raise PodFailed("It was evicted.")

        async def supervise(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                running.cancel()

    def make() -> Any:
        made.append(Lost())
        return made[-1]

    told: list[KtpyError] = []
    running = asyncio.create_task(Shadows(make, lambda: True, told.append).run())
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
    assert (len(made), [one.message for one in told]) == (1, ["It was evicted."])


@pytest.mark.parametrize("printed", ["ssh-ed25519 AAAA", None])
async def test_the_key_that_the_pod_printed_is_read_once_the_deadline_is_released(printed: str | None) -> None:
    quiet = shadow(printed)
    assert await printed_host_key(quiet, is_patient=False) == printed
    assert quiet.asked == 1


async def test_an_api_server_that_is_away_for_a_moment_is_asked_again() -> None:
    busy = shadow(ApiUnreachable("Restarting."), "ssh-ed25519 AAAA")
    assert await printed_host_key(busy, is_patient=False) == "ssh-ed25519 AAAA"
    assert busy.asked == 2


async def test_a_refusal_is_raised_unless_the_session_stands() -> None:
    with pytest.raises(Forbidden):
        await printed_host_key(shadow(Forbidden("no")), is_patient=False)
    standing = shadow(Forbidden("no"), "ssh-ed25519 AAAA")
    assert await printed_host_key(standing, is_patient=True) == "ssh-ed25519 AAAA"
