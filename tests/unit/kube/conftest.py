"""The client's own tests go over real sockets."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.kube.api_stub import ApiStub, serving


@pytest.fixture
async def stub() -> AsyncIterator[ApiStub]:
    async with serving() as stub:
        yield stub
