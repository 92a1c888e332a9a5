import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """Every command sets it, for its process."""
    logger = logging.getLogger("ktpy")
    before = logger.level
    yield
    logger.setLevel(before)
