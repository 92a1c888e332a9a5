"""The lab itself: what others' tests rely on, and that nothing is left when it goes.

`lab` here is one of these tests' own, beside the one that the other tests share; `other` is a second one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab.labs import NAME, OTHER_NAME, bring_down, leftovers
from tests.lab import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    lab = Lab.ensure_up(NAME)
    yield lab
    bring_down(NAME)
    assert leftovers(lab) == []


@pytest.fixture
def other() -> Iterator[Lab]:
    """A second lab, down at first and at last."""
    other = Lab(OTHER_NAME)
    bring_down(OTHER_NAME)
    yield other
    bring_down(OTHER_NAME)
    assert leftovers(other) == []
