import pytest

from ktpy.cluster import steps
from ktpy.cluster.steps import Step, run_steps


async def test_steps_are_walked_in_order_until_one_fails() -> None:
    done: list[str] = []

    async def fine() -> None:
        pass

    async def broken() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await run_steps([Step("a", fine), Step("b", broken), Step("c", fine)], done.append)
    assert done == ["a"]


async def test_a_condition_that_comes_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "POLL_S", 0.0)
    answers = [False, False, True]

    async def condition() -> bool:
        return answers.pop(0)

    assert await steps.poll_until(condition, 5.0)
    assert answers == []


async def test_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "POLL_S", 0.01)

    async def never() -> bool:
        return False

    assert not await steps.poll_until(never, 0.05)
