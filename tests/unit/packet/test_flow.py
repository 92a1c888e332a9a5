"""A flow's states, and what it derives from its 4-tuple."""

import socket

import pytest

from ktpy.packet.flow import FIN_FROM_ACCEPTOR, FIN_FROM_APP, RESET, TRANSITIONS, Flow, State
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6, SERVICE4, SERVICE6


def flow4() -> Flow:
    addresses = socket.inet_aton("198.18.0.1") + socket.inet_aton(SERVICE4)
    return Flow(addresses + (50000).to_bytes(2, "big") + (80).to_bytes(2, "big"), 2000, b"syn", HAIRPIN4)


def flow6() -> Flow:
    addresses = HAIRPIN6.own + socket.inet_pton(socket.AF_INET6, SERVICE6)
    return Flow(addresses + (50000).to_bytes(2, "big") + (443).to_bytes(2, "big"), 2001, b"syn", HAIRPIN6)


def test_destination_is_what_the_app_asked_for() -> None:
    assert flow4().destination == (SERVICE4, 80)
    assert flow6().destination == (SERVICE6, 443)


def test_the_two_directions_mirror_each_other() -> None:
    for flow in (flow4(), flow6()):
        size = len(flow.hairpin.own)

        def mirrored(key: bytes, size: int = size) -> bytes:
            return key[size : 2 * size] + key[:size] + key[-2:] + key[-4:-2]

        assert flow.reply_key == mirrored(flow.outbound.new)
        assert flow.inbound.new == mirrored(flow.key)


@pytest.mark.parametrize("state", State)
def test_a_flow_moves_only_as_the_table_says(state: State) -> None:
    for target in State:
        flow = flow4()
        flow.state = state
        if target in TRANSITIONS[state]:
            flow.become(target)
            assert flow.state is target
        else:
            with pytest.raises(ValueError, match="cannot become"):
                flow.become(target)


@pytest.mark.parametrize(
    ("seen", "finished"),
    [
        (0, False),
        (FIN_FROM_APP, False),
        (FIN_FROM_ACCEPTOR, False),
        (FIN_FROM_APP | FIN_FROM_ACCEPTOR, True),
        (RESET, True),
        (RESET | FIN_FROM_APP, True),
    ],
)
def test_a_flow_is_finished_by_a_reset_or_both_fins(seen: int, finished: bool) -> None:
    flow = flow4()
    flow.seen = seen
    assert flow.finished is finished
