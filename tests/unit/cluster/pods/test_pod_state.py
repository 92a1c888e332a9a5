"""Statuses and events as a real 1.36 cluster reports them, cut to what is read."""

from typing import Any

import pytest

from ktpy.cluster.pods.pod_state import (
    Stage,
    describe,
    failure_of,
    is_node_coming,
    refused_creation,
    stage_of,
    unschedulable,
)
from ktpy.errors import ImagePullFailed, KtpyError, PodFailed, PodSecurityRefused, QuotaExceeded


def pod(state: dict[str, Any] | None = None, *, node: str = "node1", **status: Any) -> dict[str, Any]:
    containers = {"containerStatuses": [{"name": "agent", "state": state}]} if state is not None else {}
    spec = {"containers": [{"name": "agent", "image": "ghcr.io/ktpy/agent:0.1.0"}]} | (
        {"nodeName": node} if node else {}
    )
    return {
        "metadata": {"name": "ktpy-shadow-1-abcde"},
        "spec": spec,
        "status": {"phase": "Pending", **containers, **status},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def disrupted(reason: str, message: str) -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient memory.",
}


@pytest.mark.parametrize(
    ("seen", "stage"),
    [
        (pod(node=""), Stage.CREATED),
        (pod(), Stage.SCHEDULED),
        (pod(waiting("ContainerCreating")), Stage.SCHEDULED),
        (pod(RUNNING), Stage.STARTED),
        (pod({"terminated": {"exitCode": 1}}), Stage.STARTED),
    ],
)
def test_stage(seen: dict[str, Any], stage: Stage) -> None:
    assert stage_of(seen) is stage


@pytest.mark.parametrize(
    "seen", [pod(node=""), pod(), pod(waiting("ContainerCreating")), pod(waiting("PodInitializing")), pod(RUNNING)]
)
def test_there_is_hope(seen: dict[str, Any]) -> None:
    assert failure_of(seen) is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"])
def test_an_image_that_cannot_be_pulled(reason: str) -> None:
    failure = failure_of(pod(waiting(reason, "pull access denied")))
    assert isinstance(failure, ImagePullFailed)
    assert f"({reason}): pull access denied." in failure.message
    assert "on this laptop by: ktpy image load\n" in (failure.hint or "")


def test_what_is_no_name_of_an_image() -> None:
    failure = failure_of(pod(waiting("InvalidImageName", "it must be lowercase")))
    assert isinstance(failure, ImagePullFailed)
    assert failure.hint == "Name another with --image."


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("manifest unknown: not found", "Name another with --image, or bring it there by: ktpy image push r.org/a:1"),
        ("failed with status code: 401 Unauthorized", "Then say: --pull-secret ktpy-pull"),
    ],
)
def test_an_image_of_a_registry_of_ones_own(message: str, line: str) -> None:
    spec = {"containers": [{"name": "agent", "image": "r.org/a:1"}]}
    failure = failure_of({**pod(waiting("ErrImagePull", message)), "spec": spec})
    assert (getattr(failure, "hint", None) or "").splitlines()[-1] == line


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (pod(waiting("CreateContainerConfigError", "image will run as root")), "image will run as root"),
        (pod({"terminated": {"exitCode": 64, "reason": "Error"}}), "exit code 64 (Error)"),
        (pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, phase="Failed"), "OOMKilled"),
        (pod({"terminated": {"exitCode": 0, "reason": "Completed"}}, phase="Succeeded"), "exit code 0"),
        (
            pod(
                {"terminated": {"exitCode": 137}},
                phase="Failed",
                reason="Evicted",
                message="The node was low on resource: memory.",
            ),
            "low on resource: memory",
        ),
        (pod(phase="Failed", reason="NodeShutdown"), "NodeShutdown"),
        (pod(phase="Failed", conditions=[disrupted("PreemptionByScheduler", "preempting to fit x")]), "preempting"),
    ],
)
def test_a_pod_that_ended_or_cannot_start(seen: dict[str, Any], words: str) -> None:
    failure = failure_of(seen)
    assert isinstance(failure, PodFailed)
    assert words in failure.message
    assert failure.message.endswith(".")
    assert not failure.message.endswith("..")


def test_what_the_workload_asks_for_and_there_is_not() -> None:
    failure = failure_of(pod(waiting("CreateContainerConfigError", 'secret "db" not found')))
    assert failure is not None
    assert failure.hint == "Create it, or mark it optional in the workload."


def test_a_pod_that_is_being_deleted() -> None:
    seen = pod(RUNNING, conditions=[disrupted("EvictionByEvictionAPI", "Eviction API: evicting")])
    seen["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    failure = failure_of(seen)
    assert isinstance(failure, PodFailed)
    assert failure.message == "The pod ktpy-shadow-1-abcde was deleted: Eviction API: evicting."


def test_unschedulable_gives_the_schedulers_reason() -> None:
    failure = unschedulable(pod(node="", conditions=[NO_NODE]))
    assert failure is not None
    assert "0/1 nodes are available: 1 Insufficient memory." in failure.message


def test_scheduled() -> None:
    assert unschedulable(pod(conditions=[{"type": "PodScheduled", "status": "True"}])) is None


@pytest.mark.parametrize(("reason", "coming"), [("TriggeredScaleUp", True), ("Nominated", True), ("Pulling", False)])
def test_a_node_is_coming(reason: str, coming: bool) -> None:
    assert is_node_coming({"reason": reason}) is coming


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1', QuotaExceeded),
        ('Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": ...', PodSecurityRefused),
        ('Error creating: admission webhook "v.k.io" denied the request: no', PodSecurityRefused),
    ],
)
def test_a_creation_that_will_never_succeed(message: str, kind: type[KtpyError]) -> None:
    assert type(refused_creation({"reason": "FailedCreate", "message": message})) is kind


@pytest.mark.parametrize(
    "event",
    [
        # In a namespace that was created this moment.
        {"reason": "FailedCreate", "message": 'pods "x" is forbidden: error looking up service account shop/default'},
        {"reason": "SuccessfulCreate", "message": "Created pod: exceeded quota"},
    ],
)
def test_a_creation_that_may_yet_succeed(event: dict[str, str]) -> None:
    assert refused_creation(event) is None


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (pod(node=""), "not scheduled"),
        (pod(node="", conditions=[NO_NODE]), "Insufficient memory"),
        (pod(waiting("ContainerCreating")), "ContainerCreating"),
        (pod(), "has not started"),
        (pod(RUNNING), "no SSH session"),
    ],
)
def test_what_it_waits_for(seen: dict[str, Any], words: str) -> None:
    assert words in describe(seen)


def test_a_container_beside_the_agents_that_has_done_its_work_is_no_end() -> None:
    beside = {"name": "environment", "state": {"terminated": {"exitCode": 0}}}
    seen = pod(containerStatuses=[{"name": "agent", "state": RUNNING}, beside])
    assert failure_of(seen) is None
    beside["state"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
    assert isinstance(failure_of(seen), PodFailed)
