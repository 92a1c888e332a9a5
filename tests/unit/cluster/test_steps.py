import logging
import re

import pytest

from ktpy.cluster.steps import Step, run_steps
from ktpy.errors import PodNotReady


async def test_steps_are_walked_in_order_until_one_fails() -> None:
    done: list[str] = []

    async def fine() -> None:
        pass

    async def broken() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await run_steps([Step("a", fine), Step("b", broken), Step("c", fine)], done.append)
    assert done == ["a"]


async def test_each_step_is_traced_with_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def fine() -> None:
        pass

    async def broken() -> None:
        raise PodNotReady("secret")

    with caplog.at_level(logging.INFO, "ktpy"), pytest.raises(PodNotReady):
        await run_steps([Step("create-gateway", fine), Step("wait-for-gateway", broken)])
    assert [re.sub(r" \d.*? s\b", " N s", record.getMessage()) for record in caplog.records] == [
        "step create-gateway: started",
        "step create-gateway: complete in N s",
        "step wait-for-gateway: started",
        "step wait-for-gateway: failed after N s: PodNotReady",
    ]
