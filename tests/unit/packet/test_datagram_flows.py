import pytest

from ktpy.packet import datagram_flows
from ktpy.packet.datagram_flows import ANSWERED_IDLE_S, IDLE_S, DatagramFlow, DatagramFlows, Path

HOST = bytes([198, 18, 0, 1])


def opened(flows: DatagramFlows, port: int = 5000, kind: int = 1) -> DatagramFlow:
    flow = flows.flow_of(kind, HOST, port)
    assert flow is not None
    return flow


def test_a_socket_has_one_flow() -> None:
    flows = DatagramFlows()
    assert opened(flows) is opened(flows)
    assert {opened(flows, 5000).number, opened(flows, 5001).number, opened(flows, 5000, kind=2).number} == {1, 2, 3}
    assert len(flows) == 3


@pytest.mark.parametrize(("answered", "limit_s"), [(False, IDLE_S), (True, ANSWERED_IDLE_S)])
def test_a_flow_that_is_idle_is_forgotten(answered: bool, limit_s: float) -> None:
    flows = DatagramFlows()
    flow = opened(flows)
    flow.is_answered = answered
    flows.add_path(b"path", Path(flow, b"tail"))
    assert flows.expire(1000.0) == []
    assert flows.expire(1000.0 + limit_s - 1) == []
    assert flows.expire(1000.0 + limit_s) == [flow.number]
    assert (len(flows), flows.paths, flows.by_number) == (0, {}, {})
    assert opened(flows).number == flow.number + 1


def test_a_flow_that_is_used_lives_on() -> None:
    flows = DatagramFlows()
    for second in range(200):
        opened(flows)
        assert flows.expire(float(second)) == []


def test_there_are_not_too_many() -> None:
    flows = DatagramFlows(max_flows=2)
    opened(flows, 1), opened(flows, 2)
    assert flows.flow_of(1, HOST, 3) is None
    assert opened(flows, 1).number == 1


def test_the_paths_of_a_flow_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_flows, "PATHS_PER_FLOW", 10)
    flows = DatagramFlows()
    for number in range(95):
        flows.add_path(b"%d" % number, Path(opened(flows), b""))
    assert len(flows.paths) == len(opened(flows).paths) == 5
