"""The agents in pods, each behind a real OpenSSH server."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.wire.session import AgentHello
from tests.component.agent.pod import Pod
from tests.component.link import gateway as gateways
from tests.component.link import shadow as shadows
from tests.component.link.sshd import Sshd

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agent-image"))  # the agent is no part of the ktpy package


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """They run on the event loop that sessions run on, whose closed transports raise where asyncio's warn."""
    return {"uvloop": uvloop.new_event_loop}


@contextmanager
def running(directory: Path, agent: str, policy: Sequence[str] = ()) -> Iterator[Sshd]:
    server = Sshd(directory, policy=policy)
    server.install(agent)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A shadow pod."""
    with running(tmp_path, shadows.AGENT) as server:
        yield server


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Sshd]:
    """A gateway's pod."""
    with running(tmp_path, gateways.AGENT) as server:
        yield server


@pytest.fixture
async def connection(sshd: Sshd) -> AsyncIterator[AgentConnection[AgentHello]]:
    connection = await shadows.open_connection(sshd)
    yield connection
    connection.close()


@pytest.fixture
def dialer(connection: AgentConnection[AgentHello]) -> Dialer:
    return Dialer(connection)


@pytest.fixture
def pod() -> Iterator[Pod]:
    """pytest's own temporary directories are closed to other users, and the pod's user is another."""
    path = Path(tempfile.mkdtemp(prefix="ktpy-agent-"))
    path.chmod(0o755)
    yield Pod(path)
    shutil.rmtree(path)
