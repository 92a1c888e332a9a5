import os
import signal
from pathlib import Path

import pytest
from ktpy_agent.haproxy import HAProxy, first_complaint, worker_pids
from ktpy_agent.haproxy_config import Machine, render

from ktpy.wire.gateway import GatewaySpec, Port
from tests.ports import free_port
from tests.unit.agent.pod import eventually


def test_the_first_complaint_without_place_and_process() -> None:
    output = (
        "[NOTICE]   (3) : haproxy version is 2.6.12\n"
        "[ALERT]    (3) : config : parsing [/run/ktpy/haproxy.new:44] : error detected while parsing ACL 'x' : regex\n"
        "[ALERT]    (3) : config : Fatal errors found in configuration.\n"
    )
    assert first_complaint(output) == "error detected while parsing ACL 'x' : regex"
    assert first_complaint("") == "no reason given"


def test_the_present_worker_comes_first() -> None:
    answer = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
31565           master          3 [failed: 0]   0d00h00m04s     2.6.12-1+deb12u4
# workers
32510           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
32287           worker          1               0d00h00m01s     2.6.12-1+deb12u4
# programs

"""
    assert worker_pids(answer) == [32510, 32287]


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
