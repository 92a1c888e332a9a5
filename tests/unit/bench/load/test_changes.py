"""What follows names that change holds no more after many changes than after few."""

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.bench.load.changes import ChangingCluster, sizes

CHANGES = 1000
LEAK_BYTES = 50 * CHANGES  # less than the address that came with each


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
async def test_names_that_change_take_no_more_memory_in_time() -> None:
    empty, early, late = await sizes(ChangingCluster(10, 100), CHANGES, held_bytes)
    assert early > empty
    assert late - early < LEAK_BYTES
