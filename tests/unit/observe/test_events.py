from dataclasses import replace

import pytest

from ktpy.observe.events import Ended, Event, LinkBack, LinkDown, Notice, PortsChanged, Ready, StartStep, decode, encode
from ktpy.observe.status import ConnectStatus, DnsStatus, PortStatus, RangeStatus, TrafficBytes
from tests.kit.intercepts import EXCHANGE

CONNECTED = ConnectStatus(
    pid=7,
    dns=DnsStatus("cluster.local", "10.199.0.1", "systemd-resolved", ("shop.svc.cluster.local", "svc.cluster.local")),
    ranges=(RangeStatus("10.96.0.0/12", "services", "ServiceCIDR"),),
    pod="ktpy-connect-ab12-x",
    server="https://a",
    context="lab",
    namespace="shop",
    state="connected",
    uptime_s=1.5,
    bytes=TrafficBytes(3, 4),
    open_flows=2,
)


PORT = PortStatus(80, 3001, is_local_up=True, is_up=False, requests=7, fallbacks=2)
INTERCEPTED = replace(EXCHANGE, reference="deployment/web", session="5e55", routes=1, ports=(PORT,))


@pytest.mark.parametrize(
    "event",
    [
        StartStep("pod", "started on node1", 0.5),
        Notice("undone: a link"),
        PortsChanged((PORT,)),
        Ready(CONNECTED),
        Ready(INTERCEPTED),
        LinkDown("The link to the pod was lost: cable."),
        LinkBack("ktpy-connect-ab12-x", 2.5, losses=3),
        Ended(24, "the pod is not ready", "try again\nlater"),
    ],
)
def test_an_event_survives_the_pipe_on_one_line(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert decode(line) == event
