import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

import pytest

from ktpy.kube.client import Api
from tests.kit.skipping_loop import SkippingLoop
from tests.unit.kube.api_stub import ApiStub, kubeconfig, stubbing
from tests.unit.kube.certificates import KeyPair, make_key_pair
from tests.unit.kube.object_store import ObjectStore, storing

_PROCESS_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
_is_in_unit_test = False


def _refuse_process(event: str, _: tuple[object, ...]) -> None:
    assert not (_is_in_unit_test and event in _PROCESS_EVENTS), (
        "a test that starts a process belongs in tests/component"
    )


sys.addaudithook(_refuse_process)
os.environ["SSL_CERT_FILE"] = os.devnull  # the machine's authorities, which take each client 20 ms to read


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """No test waits for a timer."""
    return {"asyncio": SkippingLoop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Fail a test that starts a process: it is slow, and fails for reasons of its own."""
    global _is_in_unit_test
    _is_in_unit_test = True
    try:
        return (yield)
    finally:
        _is_in_unit_test = False


def pytest_collection_finish() -> None:
    """Keep what has been collected, some million objects, out of every later run of the garbage collector."""
    gc.freeze()


@pytest.fixture
def stub() -> Iterator[ApiStub]:
    with stubbing() as stub:
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
def store() -> Iterator[ObjectStore]:
    with storing() as store:
        yield store


@pytest.fixture
async def store_api(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Api]:
    """A client of the object store, as user al in namespace shop."""
    api = await Api.load(kubeconfig(tmp_path, store.url, {"token": "t"}))
    yield api
    await api.close()
