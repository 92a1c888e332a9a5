"""The main process's end on the loop that `ktpy connect` runs on."""

import asyncio
import os

import pytest
import uvloop

from ktpy.helper.client import HelperClient
from tests.net.helper.machine import Machine
from tests.net.helper.session import (
    NETWORKS,
    opened,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


def test_client_on_uvloop(box: Machine) -> None:
    """The loop `ktpy connect` runs on where there is one."""

    async def session() -> None:
        async with await HelperClient.start(box.launch()) as helper, opened(helper):
            await helper.add_routes(NETWORKS)
            asking = asyncio.create_task(helper.local_networks(), name="asking")
            await asyncio.sleep(0)
            asking.cancel()
            assert (await helper.detect_resolver()).kind == "resolv.conf"  # not the answer to the cancelled one

    box.set_resolv_conf("file")
    before = box.state()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(session())
    assert box.state() == before
