import logging
from collections.abc import Iterator

import pytest

from ktpy.daemon import settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of whoever runs the tests say nothing here."""
    monkeypatch.setattr(settings, "found", lambda _tell=None: [])


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """Every command sets it, for its process."""
    logger = logging.getLogger("ktpy")
    before = logger.level
    yield
    logger.setLevel(before)
