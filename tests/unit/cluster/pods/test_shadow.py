"""The life of a shadow pod against a scripted API server; a real cluster's: e2e/connect_errors/test_pod.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ktpy.cluster.pods import pod_log
from ktpy.cluster.pods import shadow as shadow_module
from ktpy.cluster.pods.pod_state import PodProgress, Stage
from ktpy.cluster.pods.shadow import Shadow
from ktpy.cluster.pods.shadow_manifest import DEADLINE_S
from ktpy.errors import (
    ApiUnreachable,
    Forbidden,
    ImagePullFailed,
    KtpyError,
    PodFailed,
    PodNotReady,
    PodUnschedulable,
    QuotaExceeded,
)
from ktpy.kube.client import Api
from ktpy.kube.refusals import NeverSent
from tests.unit.cluster.pods.test_pod_state import NO_NODE, RUNNING, pod, waiting
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, kubeconfig, listed, refusing, watched

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
JOB = f"{JOBS}/ktpy-shadow-abc"
PODS = "/api/v1/namespaces/shop/pods"
POD = f"{PODS}/ktpy-shadow-1-abcde"
EVENTS = "/api/v1/namespaces/shop/events"
CREATED = Answer({"metadata": {"name": "ktpy-shadow-abc", "uid": "u-1"}}, status=201)


def versions() -> Any:
    number = 10
    while True:
        number += 1
        yield str(number)


VERSIONS = versions()


def at(seen: dict[str, Any]) -> dict[str, Any]:
    """The same with a resource version, as the API server sends it."""
    return seen | {"metadata": seen["metadata"] | {"namespace": "shop", "resourceVersion": next(VERSIONS)}}


def event(reason: str, message: str, kind: str = "Warning") -> dict[str, Any]:
    return at({"metadata": {"name": f"e-{reason}"}, "type": kind, "reason": reason, "message": message})


class Watched:
    """A Shadow under supervision."""

    def __init__(self, api: Api, pod_timeout_s: float) -> None:
        self.progress: list[PodProgress] = []
        self._told = {stage: asyncio.Event() for stage in Stage}
        self.shadow = Shadow(
            api,
            image="ghcr.io/ktpy/agent:0.1.0",
            public_key="ssh-ed25519 AAAA",
            pod_timeout_s=pod_timeout_s,
            session="abc",
            on_progress=self._note,
        )

    def _note(self, progress: PodProgress) -> None:
        self.progress.append(progress)
        self._told[progress.stage].set()

    async def reached(self, stage: Stage) -> None:
        async with asyncio.timeout(5):
            await self._told[stage].wait()

    @property
    def stages(self) -> list[Stage]:
        return [progress.stage for progress in self.progress]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "EVENTS_AFTER_S", 0.1)
    monkeypatch.setattr(shadow_module, "UNSCHEDULABLE_GRACE_S", 1.0)
    monkeypatch.setattr(pod_log, "HOST_KEY_PERIOD_S", 0.01)


@pytest.fixture
def cluster(stub: ApiStub) -> ApiStub:
    """A cluster that takes the Job and has nothing to tell yet."""
    stub.script(f"POST {JOBS}", CREATED)
    for path in (PODS, EVENTS):
        stub.script(f"GET {path}", listed())
    return stub


@asynccontextmanager
async def supervised(api: Api, *, pod_timeout_s: float = 5.0) -> AsyncIterator[tuple[Watched, "asyncio.Task[None]"]]:
    seen = Watched(api, pod_timeout_s)
    supervising = asyncio.create_task(seen.shadow.supervise())
    try:
        yield seen, supervising
    finally:
        supervising.cancel()
        await asyncio.wait([supervising])


async def outcome(supervising: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(5):
        await supervising


async def test_from_creation_to_start(cluster: ApiStub, api: Api) -> None:
    cluster.script(
        f"WATCH {PODS}",
        watched(*(("MODIFIED", at(seen)) for seen in (pod(node=""), pod(), pod(RUNNING), pod(RUNNING)))),
    )
    async with supervised(api) as (seen, _):
        await seen.shadow.create()
        assert await seen.shadow.pod_name() == "ktpy-shadow-1-abcde"
        await seen.reached(Stage.STARTED)
    assert seen.stages == [Stage.CREATED, Stage.SCHEDULED, Stage.STARTED]
    [posted] = cluster.asked_for(f"POST {JOBS}")
    assert posted.body["metadata"]["name"] == "ktpy-shadow-abc"
    assert cluster.asked_for(f"GET {PODS}")[0].query["labelSelector"] == "ktpy.dev/session=abc"


async def test_its_service_is_made_once_and_its_addresses_asked_for_each_time(cluster: ApiStub, api: Api) -> None:
    services = "/api/v1/namespaces/shop/services"
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
    statuses = [{"hostIP": "192.0.2.1"}, {"hostIP": "192.0.2.2", "podIP": "10.1.0.7"}]
    cluster.script(f"GET {POD}", *(Answer({"status": status}) for status in statuses))
    cluster.script(f"POST {services}", Answer({"spec": {"ports": [{"nodePort": 31000}]}}, status=201))
    async with supervised(api) as (seen, _):
        await seen.shadow.create()
        assert await seen.shadow.node_address() == ("192.0.2.1", 31000)
        assert await seen.shadow.node_address() == ("192.0.2.2", 31000)
        assert await seen.shadow.own_address() == ("10.1.0.7", 2222)
    assert len(cluster.asked_for(f"POST {services}")) == 1


async def test_its_address_is_asked_for_once_the_kubelet_has_told_that_it_runs(cluster: ApiStub, api: Api) -> None:
    """That of Kubernetes 1.35 tells both up to a second after the session stands."""
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
    cluster.script(f"GET {POD}", Answer({"status": {"podIP": "10.1.0.7"}}))
    async with supervised(api) as (seen, _):
        asking = asyncio.create_task(seen.shadow.own_address())
        await asyncio.sleep(0)
        assert cluster.asked_for(f"GET {POD}") == []
        assert await asking == ("10.1.0.7", 2222)
        assert seen.shadow._has_started.is_set()


async def test_a_quick_start_reads_no_events(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
    async with supervised(api) as (seen, _):
        await seen.reached(Stage.STARTED)
        await asyncio.wait(seen.shadow._explaining)
    assert cluster.asked_for(f"GET {EVENTS}") == []


async def test_pulling_is_told_from_events(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod()))))
    cluster.script(f"WATCH {EVENTS}", watched(("ADDED", event("Pulling", 'Pulling image "x"', "Normal"))))
    async with supervised(api) as (seen, _):
        await seen.reached(Stage.PULLING)
    assert seen.progress[-1].detail == 'Pulling image "x"'
    # Those of the Job may have been asked for before, where the pod was seen late.
    assert cluster.asked_for(f"GET {EVENTS}")[-1].query["fieldSelector"] == "involvedObject.name=ktpy-shadow-1-abcde"


async def test_an_image_error_is_raised_at_once(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(waiting("ErrImagePull", "denied"))))))
    async with supervised(api) as (_, supervising):
        with pytest.raises(ImagePullFailed, match="denied"):
            await outcome(supervising)


async def test_a_quota_is_read_from_the_jobs_events(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched())
    refusal = event("FailedCreate", 'Error creating: pods "x" is forbidden: exceeded quota: q')
    cluster.script(f"WATCH {EVENTS}", watched(("ADDED", refusal)))
    async with supervised(api) as (_, supervising):
        with pytest.raises(QuotaExceeded, match="exceeded quota: q"):
            await outcome(supervising)
    assert cluster.asked_for(f"GET {EVENTS}")[0].query["fieldSelector"] == "involvedObject.name=ktpy-shadow-abc"


async def test_unschedulable_is_believed_after_a_moment(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(node="", conditions=[NO_NODE])))))
    cluster.script(f"WATCH {EVENTS}", watched())
    async with supervised(api) as (_, supervising):
        with pytest.raises(PodUnschedulable, match="Insufficient memory"):
            await outcome(supervising)


async def test_a_cluster_that_grows_is_waited_for(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(node="", conditions=[NO_NODE])))))
    growing = event("TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2}]", "Normal")
    cluster.script(f"WATCH {EVENTS}", watched(("ADDED", growing)))
    async with supervised(api, pod_timeout_s=3.0) as (_, supervising):
        with pytest.raises(PodNotReady):
            await outcome(supervising)


async def test_a_time_out_tells_the_last_known_reason(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(waiting("ContainerCreating"))))))
    cluster.script(f"WATCH {EVENTS}", watched(("ADDED", event("FailedMount", "timed out waiting for the node"))))
    async with supervised(api, pod_timeout_s=2.0) as (_, supervising):
        with pytest.raises(PodNotReady, match=r"within 2 s: timed out waiting for the node\."):
            await outcome(supervising)


async def test_events_that_may_not_be_read_are_done_without(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(waiting("ContainerCreating"))))))
    cluster.script(f"WATCH {EVENTS}", forbidding())
    async with supervised(api, pod_timeout_s=2.0) as (_, supervising):
        with pytest.raises(PodNotReady, match=r"ContainerCreating"):
            await outcome(supervising)


async def test_pods_that_may_not_be_seen_are_an_error(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}", forbidding())
    async with supervised(api) as (_, supervising):
        with pytest.raises(Forbidden, match="list pods"):
            await outcome(supervising)


async def test_a_crash_comes_with_its_last_words(cluster: ApiStub, api: Api) -> None:
    crashed = pod({"terminated": {"exitCode": 1, "reason": "Error"}})
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(crashed))))
    cluster.script(f"GET {POD}/log", Answer("ktpy-agent cannot run sshd\n"))
    async with supervised(api) as (_, supervising):
        with pytest.raises(PodFailed) as raised:
            await outcome(supervising)
    assert raised.value.hint == "Its log ends:\nktpy-agent cannot run sshd"


async def test_a_crash_whose_log_may_not_be_read(cluster: ApiStub, api: Api) -> None:
    cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod({"terminated": {"exitCode": 1}})))))
    cluster.script(f"GET {POD}/log", forbidding())
    async with supervised(api) as (_, supervising):
        with pytest.raises(PodFailed) as raised:
            await outcome(supervising)
    assert raised.value.hint is None


class TestPushDeadline:
    async def test_ends_the_time_out_here_and_puts_off_the_one_in_the_cluster(self, cluster: ApiStub, api: Api) -> None:
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
        cluster.script(f"PATCH {JOB}", Answer())
        async with supervised(api, pod_timeout_s=0.1) as (seen, supervising):
            await seen.shadow.create()
            await seen.shadow.push_deadline()
            ended, _ = await asyncio.wait([supervising], timeout=0.2)
            assert not ended
        [patch] = cluster.asked_for(f"PATCH {JOB}")
        assert patch.body == {"metadata": {"uid": "u-1"}, "spec": {"activeDeadlineSeconds": DEADLINE_S}}

    async def test_it_is_pushed_while_the_session_lives(
        self, cluster: ApiStub, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shadow_module, "PUSH_EVERY_S", 0.02)
        clock_s = 1000.0
        monkeypatch.setattr("time.clock_gettime", lambda _: clock_s)
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
        cluster.script(f"PATCH {JOB}", Answer(), refusing(503, "not now"), Answer())
        async with supervised(api) as (seen, supervising):
            await seen.shadow.create()
            clock_s += 30
            await seen.shadow.push_deadline()
            clock_s += 20
            await cluster.until_asked_for(f"PATCH {JOB}", len(cluster.asked_for(f"PATCH {JOB}")) + 3)
            assert not supervising.done()
        deadlines = [asked.body["spec"]["activeDeadlineSeconds"] for asked in cluster.asked_for(f"PATCH {JOB}")]
        assert (deadlines[0], deadlines[-1]) == (30 + DEADLINE_S, 50 + DEADLINE_S)

    async def test_a_job_that_is_gone_is_told_by_its_pod(
        self, cluster: ApiStub, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shadow_module, "PUSH_EVERY_S", 0.02)
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
        cluster.script(f"PATCH {JOB}", Answer(), refusing(404, "gone"))
        async with supervised(api) as (seen, supervising):
            await seen.shadow.create()
            await seen.shadow.push_deadline()
            await cluster.until_asked_for(f"PATCH {JOB}", 2)
            ended, _ = await asyncio.wait([supervising], timeout=0.1)
            assert not ended

    async def test_from_then_on_the_end_of_the_pod_is_told(self, cluster: ApiStub, api: Api) -> None:
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING))), ("DELETED", at(pod(RUNNING)))))
        async with supervised(api) as (_, supervising):
            with pytest.raises(PodFailed, match="was deleted"):
                await outcome(supervising)


class TestFailureNow:
    async def failure(self, cluster: ApiStub, api: Api, answer: Answer) -> KtpyError | None:
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
        cluster.script(f"GET {POD}", answer)
        async with supervised(api) as (seen, _):
            await seen.shadow.create()
            return await seen.shadow.failure_now()

    async def test_of_a_pod_that_runs(self, cluster: ApiStub, api: Api) -> None:
        assert await self.failure(cluster, api, Answer(at(pod(RUNNING)))) is None

    async def test_of_a_pod_that_is_gone(self, cluster: ApiStub, api: Api) -> None:
        gone = await self.failure(cluster, api, refusing(404, "not found"))
        assert isinstance(gone, PodFailed)
        assert "is gone" in gone.message

    async def test_of_a_pod_that_has_ended(self, cluster: ApiStub, api: Api) -> None:
        ended = await self.failure(cluster, api, Answer(at(pod(phase="Failed", message="Evicted."))))
        assert isinstance(ended, PodFailed)


class TestDelete:
    @pytest.fixture
    def shadow(self, api: Api) -> Shadow:
        return Watched(api, 5.0).shadow

    async def test_asks_for_nothing_when_nothing_was_created(self, stub: ApiStub, shadow: Shadow) -> None:
        await shadow.delete()
        assert stub.asked == []

    async def test_removes_this_very_job_and_its_pod(self, stub: ApiStub, shadow: Shadow) -> None:
        stub.script(f"POST {JOBS}", CREATED)
        stub.script(f"DELETE {JOB}", Answer())
        await shadow.create()
        await shadow.delete()
        [asked] = stub.asked_for(f"DELETE {JOB}")
        assert asked.body["propagationPolicy"] == "Background"
        assert asked.body["preconditions"] == {"uid": "u-1"}

    async def test_asks_for_nothing_when_there_was_no_connection(self, tmp_path: Path, closed_port: int) -> None:
        api = await Api.load(kubeconfig(tmp_path, f"http://127.0.0.1:{closed_port}", {"token": "t"}))
        try:
            shadow = Watched(api, 5.0).shadow
            with pytest.raises(NeverSent):
                await shadow.create()
            await shadow.delete()  # would raise
            creating = asyncio.create_task(shadow.create())
            await asyncio.sleep(0)
            creating.cancel()  # another request has found out first
            await asyncio.wait([creating])
            await shadow.delete()
        finally:
            await api.close()

    async def test_after_a_lost_reply(self, stub: ApiStub, shadow: Shadow) -> None:
        stub.script(f"POST {JOBS}", refusing(504, "time-out"))
        stub.script(f"GET {JOB}", Answer({"metadata": {"uid": "u-2", "labels": {"ktpy.dev/session": "abc"}}}))
        stub.script(f"DELETE {JOB}", Answer())
        with pytest.raises(ApiUnreachable):
            await shadow.create()
        await shadow.delete()
        assert stub.asked_for(f"DELETE {JOB}")[0].body["preconditions"] == {"uid": "u-2"}

    async def test_after_a_lost_reply_somebody_elses_job_stays(self, stub: ApiStub, shadow: Shadow) -> None:
        stub.script(f"POST {JOBS}", refusing(504, "time-out"))
        stub.script(f"GET {JOB}", Answer({"metadata": {"uid": "u-2"}}))
        with pytest.raises(ApiUnreachable):
            await shadow.create()
        await shadow.delete()
        assert stub.asked_for(f"DELETE {JOB}") == []

    async def test_after_a_clear_no(self, stub: ApiStub, shadow: Shadow) -> None:
        stub.script(f"POST {JOBS}", forbidding())
        with pytest.raises(Forbidden, match=r"create jobs\.batch in namespace shop"):
            await shadow.create()
        await shadow.delete()
        assert len(stub.asked) == 1

    @pytest.mark.parametrize("code", [404, 409])
    async def test_is_content_when_it_is_gone(self, stub: ApiStub, shadow: Shadow, code: int) -> None:
        stub.script(f"POST {JOBS}", CREATED)
        stub.script(f"DELETE {JOB}", refusing(code, "gone"))
        await shadow.create()
        await shadow.delete()

    async def test_is_no_failure_of_the_pod(self, cluster: ApiStub, api: Api) -> None:
        gone = at(pod(RUNNING))
        cluster.script(
            f"WATCH {PODS}",
            watched(("ADDED", at(pod(RUNNING))), is_endless=False),
            watched(("DELETED", gone), is_endless=False),
        )
        cluster.script(f"DELETE {JOB}", Answer())
        async with supervised(api) as (seen, supervising):
            await seen.shadow.create()
            await seen.shadow.pod_name()
            await seen.shadow.delete()
            await cluster.until_asked_for(f"WATCH {PODS}", times=3)  # so the end of the pod has been heard of
            assert not supervising.done()


class TestHostKey:
    async def host_key(self, cluster: ApiStub, api: Api, *logs: Answer) -> str | None:
        cluster.script(f"WATCH {PODS}", watched(("ADDED", at(pod(RUNNING)))))
        cluster.script(f"GET {POD}/log", *logs)
        async with supervised(api) as (seen, _):
            return await seen.shadow.host_key()

    async def test_of_the_log(self, cluster: ApiStub, api: Api) -> None:
        log = Answer("ktpy-agent starts\nktpy-agent host-key ssh-ed25519 AAAAkey\nServer listening\n")
        assert await self.host_key(cluster, api, log) == "ssh-ed25519 AAAAkey"

    async def test_is_waited_for(self, cluster: ApiStub, api: Api) -> None:
        creating = refusing(400, 'container "agent" is waiting to start: ContainerCreating')
        log = Answer("ktpy-agent host-key ssh-ed25519 AAAAkey\n")
        assert await self.host_key(cluster, api, creating, Answer(""), log) == "ssh-ed25519 AAAAkey"

    async def test_where_logs_may_not_be_read(self, cluster: ApiStub, api: Api) -> None:
        assert await self.host_key(cluster, api, forbidding()) is None

    async def test_that_never_comes(self, cluster: ApiStub, api: Api) -> None:
        assert await self.host_key(cluster, api, Answer("no key\n")) is None
