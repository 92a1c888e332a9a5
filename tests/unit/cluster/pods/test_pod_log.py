"""The host key in a pod's log, read again with pauses that take no time here."""

from ktpy.cluster.pods.pod_log import HOST_KEY_ATTEMPTS, HOST_KEY_PERIOD_S, host_key
from ktpy.kube.client import Api
from ktpy.kube.resources import PODS
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, refusing

LOG = f"GET {PODS.path('shop', 'g1', 'log')}"
CREATING = refusing(400, 'container "agent" is waiting to start: ContainerCreating')
PRINTED = Answer("ktpy-agent starts\nktpy-agent host-key ssh-ed25519 AAAAkey\nServer listening\n")


class Sleep:
    """Notes each pause, and goes on at once."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []

    async def __call__(self, pause_s: float) -> None:
        self.pauses_s.append(pause_s)


async def test_a_key_that_has_been_printed(stub: ApiStub, api: Api) -> None:
    stub.script(LOG, PRINTED)
    sleep = Sleep()
    assert await host_key(api, "g1", "agent", sleep=sleep) == "ssh-ed25519 AAAAkey"
    assert sleep.pauses_s == []
    assert stub.asked[0].query["container"] == "agent"


async def test_a_key_that_comes_later(stub: ApiStub, api: Api) -> None:
    stub.script(LOG, CREATING, Answer(""), PRINTED)
    sleep = Sleep()
    assert await host_key(api, "g1", "agent", sleep=sleep) == "ssh-ed25519 AAAAkey"
    assert sleep.pauses_s == [HOST_KEY_PERIOD_S] * 2


async def test_a_key_that_never_comes(stub: ApiStub, api: Api) -> None:
    stub.script(LOG, Answer("no key\n"))
    assert await host_key(api, "g1", "agent", sleep=Sleep()) is None
    assert len(stub.asked) == HOST_KEY_ATTEMPTS


async def test_a_log_that_may_not_be_read(stub: ApiStub, api: Api) -> None:
    stub.script(LOG, forbidding())
    assert await host_key(api, "g1", "agent", sleep=Sleep()) is None
    assert len(stub.asked) == 1
