import pytest

from ktpy.aio import poll


async def test_a_condition_that_comes_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "POLL_S", 0.0)
    answers = [False, False, True]

    async def condition() -> bool:
        return answers.pop(0)

    assert await poll.poll_until(condition, 5.0)
    assert answers == []


async def test_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "POLL_S", 0.01)

    async def never() -> bool:
        return False

    assert not await poll.poll_until(never, 0.05)
