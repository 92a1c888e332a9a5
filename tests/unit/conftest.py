import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ktpy.kube.client import Api
from tests.unit.kube.api_stub import ApiStub, kubeconfig, serving
from tests.unit.kube.certificates import KeyPair, make_key_pair
from tests.unit.kube.object_store import ObjectStore, storing


@pytest.fixture
async def stub() -> AsyncIterator[ApiStub]:
    async with serving() as stub:
        yield stub


@pytest.fixture
async def api(stub: ApiStub, tmp_path: Path) -> AsyncIterator[Api]:
    """A client of the stub, as user al in namespace shop."""
    api = await Api.load(kubeconfig(tmp_path, stub.url, {"token": "t"}))
    yield api
    await api.close()


@pytest.fixture
def closed_port() -> int:
    """A TCP port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def key_pair() -> KeyPair:
    return make_key_pair("one")


@pytest.fixture(scope="session")
def other_key_pair() -> KeyPair:
    return make_key_pair("other")


@pytest.fixture
async def store() -> AsyncIterator[ObjectStore]:
    async with storing() as store:
        yield store


@pytest.fixture
async def store_api(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Api]:
    """A client of the object store, as user al in namespace shop."""
    api = await Api.load(kubeconfig(tmp_path, store.url, {"token": "t"}))
    yield api
    await api.close()
