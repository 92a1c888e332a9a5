"""The real HAProxy under the agent's hand."""

import os
import signal
from pathlib import Path

import pytest
from ktpy_agent.haproxy import HAProxy
from ktpy_agent.haproxy_config import Machine, render

from ktpy.wire.gateway import GatewaySpec, Port
from tests.kit.ports import free_port
from tests.kit.waiting import eventually


@pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy")
def test_no_reload_is_lost_upon_another(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path), free_port(), threads=2, max_connections=500, has_ipv6=True)
    spec = GatewaySpec("web", None, (Port(80, "http", free_port(), "TCP", http=True),))
    haproxy = HAProxy(tmp_path)
    haproxy.accept(render(machine, spec, (), {}, 1))
    haproxy.start()
    assert haproxy.pid is not None
    try:
        assert eventually(lambda: haproxy.is_serving(1))
        for generation in range(2, 22):
            haproxy.accept(render(machine, spec, (), {}, generation))
            assert haproxy.reload(generation)
    finally:
        haproxy.signal(signal.SIGTERM)
        os.waitpid(haproxy.pid, 0)
