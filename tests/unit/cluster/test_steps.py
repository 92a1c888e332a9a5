import pytest

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
