"""The agent is no part of the ktpy package: it lives beside its Dockerfile and runs in the pod."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.agent.gateway_pod import GatewayPod, open_directory, web_server

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agent-image"))


@pytest.fixture
def pod() -> Iterator[GatewayPod]:
    with open_directory() as directory:
        yield GatewayPod(directory)


@pytest.fixture
def origin() -> Iterator[int]:
    """The original pods' port."""
    with web_server("origin") as port:
        yield port


@pytest.fixture
def local() -> Iterator[int]:
    """The port of a program on a laptop."""
    with web_server("local") as port:
        yield port
