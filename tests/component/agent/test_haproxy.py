"""The real HAProxy under the agent's hand."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ktpy_agent.haproxy import HAProxy
from ktpy_agent.haproxy_config import LEAST_MAPPED, Config, Machine, render
from ktpy_agent.routes import Route

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Header, Match
from tests.kit.ports import free_port
from tests.kit.waiting import eventually

pytestmark = pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy")


@contextmanager
def running(haproxy: HAProxy, config: Config) -> Iterator[int]:
    """The master's pid, once a worker serves this first generation."""
    haproxy.accept(config)
    haproxy.start()
    assert haproxy.pid is not None
    try:
        assert eventually(lambda: haproxy.is_serving(1))
        yield haproxy.pid
    finally:
        haproxy.signal(signal.SIGTERM)
        os.waitpid(haproxy.pid, 0)


def test_no_reload_is_lost_upon_another(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path), free_port(), threads=2, max_connections=500, has_ipv6=True)
    port = Port(80, "http", free_port(), "TCP", http=True)
    spec = GatewaySpec("web", None, (port,))
    matches = [Match((Header("version", f"v{number}"),)) for number in range(LEAST_MAPPED)]
    routes = [Route(number, "s1", "amy", port, match, False, "f00") for number, match in enumerate(matches, 1)]
    haproxy = HAProxy(tmp_path)
    with running(haproxy, render(machine, spec, routes, {}, 1)):
        for generation in range(2, 22):
            haproxy.accept(render(machine, spec, routes, {}, generation))
            assert haproxy.reload(generation)
        assert [path.name for path in tmp_path.glob("*.map")] == ["21-route1.map"]


def test_its_allocator_is_told_to_keep_what_the_next_request_needs(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path), free_port(), threads=1, max_connections=500, has_ipv6=True)
    with running(HAProxy(tmp_path), render(machine, GatewaySpec("web", None, ()), [], {}, 1)) as master:
        environment = Path(f"/proc/{master}/environ")

        def has_both() -> bool:
            """It reads as nothing for an instant, as the master starts itself anew once it has a worker."""
            found = environment.read_text()
            return all(f"MALLOC_{what}_THRESHOLD_=2097152\0" in found for what in ("TRIM", "MMAP"))

        assert eventually(has_both)
