"""Parts of `connect` that need no cluster; all of it together is what the end-to-end tests are for."""

from typing import Any

import pytest

from ktpy.errors import ApiUnreachable
from ktpy.sessions.connect import _printed_host_key


class Shadow:
    """What the API server answers, one after the other: an error, or the host key in the pod's log."""

    def __init__(self, *answers: ApiUnreachable | str | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def push_deadline(self) -> None:
        self.asked += 1

    async def host_key(self) -> str | None:
        answer = self._answers.pop(0)
        if isinstance(answer, ApiUnreachable):
            raise answer
        return answer


def shadow(*answers: ApiUnreachable | str | None) -> Any:
    return Shadow(*answers)


@pytest.mark.parametrize("printed", ["ssh-ed25519 AAAA", None])
async def test_the_key_that_the_pod_printed_is_read_once_the_deadline_is_released(printed: str | None) -> None:
    quiet = shadow(printed)
    assert await _printed_host_key(quiet) == printed
    assert quiet.asked == 1


async def test_an_api_server_that_is_away_for_a_moment_is_asked_again() -> None:
    busy = shadow(ApiUnreachable("Restarting."), "ssh-ed25519 AAAA")
    assert await _printed_host_key(busy) == "ssh-ed25519 AAAA"
    assert busy.asked == 2
