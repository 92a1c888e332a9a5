"""Ports of a dev session whose link is cut while connections are open, behind a real OpenSSH server."""

import asyncio
from contextlib import nullcontext

import pytest

from ktpy.observe.events import Event, Notice
from ktpy.sessions.dev_link import connection_keeper
from ktpy.sessions.dev_ports import forwarded, listening
from ktpy.sessions.options import Publish
from tests.component.link.dev_pod import dev_pod, never, relay, uplink_over
from tests.component.link.sshd import Sshd, echo, target

__all__ = ["dev_pod"]


@pytest.mark.parametrize("has_relay", [True, False])
async def test_a_connection_outlives_the_link_where_the_agent_has_a_relay(dev_pod: Sshd, *, has_relay: bool) -> None:
    told: list[Event] = []
    keeper = connection_keeper(told.append)
    with listening([Publish(0, 80)]) as [(_, listener)], relay(dev_pod) if has_relay else nullcontext():
        async with (
            target(echo) as port,
            uplink_over(dev_pod, never(), keeper.hold) as (_, cable),
            forwarded([(port, listener)], keeper),
        ):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            cable.cut()
            writer.write(b"two")
            if has_relay:
                assert await reader.readexactly(3) == b"two"
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            writer.close()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"later")
            assert await reader.readexactly(5) == b"later"
            writer.close()
    notices = [one.text for one in told if isinstance(one, Notice)]
    assert [one[:44] for one in notices] == ([] if has_relay else ["Connections to forwarded ports will end with"])
