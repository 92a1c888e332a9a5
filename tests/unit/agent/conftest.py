"""The agent is no part of the ktpy package: it lives beside its Dockerfile and runs in the pod."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agent-image"))

from tests.unit.agent.flow_laptop import Laptop, Target


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(tmp_path)
    yield laptop
    laptop.close()


@pytest.fixture
def target(laptop: Laptop) -> Target:
    return Target(laptop)
