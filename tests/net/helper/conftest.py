from collections.abc import AsyncIterator, Iterator

import pytest

from ktpy.helper.client import HelperClient
from tests.net.helper.machine import Machine, machine


@pytest.fixture
def box() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.fixture
async def helper(box: Machine) -> AsyncIterator[HelperClient]:
    box.set_resolv_conf("file")
    async with await HelperClient.start(box.launch()) as started:
        yield started
