"""The real HAProxy under the agent's hand."""

import os
import signal
from pathlib import Path

import pytest
from ktpy_agent.haproxy import HAProxy
from ktpy_agent.haproxy_config import LEAST_MAPPED, Machine, render
from ktpy_agent.routes import Route

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Header, Match
from tests.kit.ports import free_port
from tests.kit.waiting import eventually


@pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy")
def test_no_reload_is_lost_upon_another(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path), free_port(), threads=2, max_connections=500, has_ipv6=True)
    port = Port(80, "http", free_port(), "TCP", http=True)
    spec = GatewaySpec("web", None, (port,))
    matches = [Match((Header("version", f"v{number}"),)) for number in range(LEAST_MAPPED)]
    routes = [Route(number, "s1", "amy", port, match, False, "f00") for number, match in enumerate(matches, 1)]
    haproxy = HAProxy(tmp_path)
    haproxy.accept(render(machine, spec, routes, {}, 1))
    haproxy.start()
    assert haproxy.pid is not None
    try:
        assert eventually(lambda: haproxy.is_serving(1))
        for generation in range(2, 22):
            haproxy.accept(render(machine, spec, routes, {}, generation))
            assert haproxy.reload(generation)
        assert [path.name for path in tmp_path.glob("*.map")] == ["21-route1.map"]
    finally:
        haproxy.signal(signal.SIGTERM)
        os.waitpid(haproxy.pid, 0)
