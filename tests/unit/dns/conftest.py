import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.kit.skipping_loop import SkippingLoop

SOCKET_TESTS = {"test_server.py", "test_stream.py", "test_upstream.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What touches sockets is tried on both event loops: they differ in how they close and report errors."""
    if item.path.name in SOCKET_TESTS:
        return {"asyncio": SkippingLoop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": SkippingLoop}
