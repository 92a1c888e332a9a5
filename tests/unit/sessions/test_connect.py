"""Parts of `connect` that need no cluster; all of it together is what the end-to-end tests are for."""

from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.errors import ApiUnreachable, HostKeyMismatch
from ktpy.sessions.connect import _confirm


class Shadow:
    """What the API server answers, one after the other: an error, or the host key in the pod's log."""

    def __init__(self, *answers: ApiUnreachable | str | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def release_deadline(self) -> None:
        self.asked += 1

    async def host_key(self) -> str | None:
        answer = self._answers.pop(0)
        if isinstance(answer, ApiUnreachable):
            raise answer
        return answer


def tunnel(host_key: str) -> Any:
    return SimpleNamespace(host_key=host_key)


def shadow(*answers: ApiUnreachable | str | None) -> Any:
    return Shadow(*answers)


@pytest.mark.parametrize("printed", ["ssh-ed25519 AAAA", None])
async def test_a_session_is_confirmed(printed: str | None) -> None:
    await _confirm(shadow(printed), tunnel("ssh-ed25519 AAAA"))


async def test_another_host_key_ends_it() -> None:
    with pytest.raises(HostKeyMismatch):
        await _confirm(shadow("ssh-ed25519 AAAA"), tunnel("ssh-ed25519 BBBB"))


async def test_an_api_server_that_is_away_for_a_moment_is_asked_again() -> None:
    busy = shadow(ApiUnreachable("Restarting."), "ssh-ed25519 AAAA")
    await _confirm(busy, tunnel("ssh-ed25519 AAAA"))
    assert busy.asked == 2
