"""A pod's states and events in, what is known of it out."""

from typing import Any

from ktpy.cluster.pods.pod_state import PodProgress, Stage
from ktpy.cluster.pods.pod_watch import PodWatch
from ktpy.errors import ImagePullFailed, PodFailed, PodUnschedulable
from tests.unit.cluster.pods.test_pod_state import NO_NODE, RUNNING, pod, waiting

NAME = "ktpy-shadow-1-abcde"
NEW = PodWatch("nobody has created it")
ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}


def event(reason: str, message: str, kind: str = "Normal") -> dict[str, Any]:
    return {"type": kind, "reason": reason, "message": message}


def after(*states: dict[str, Any], watch: PodWatch = NEW) -> PodWatch:
    for state in states:
        watch = watch.seen(state)
    return watch


def test_before_anything_is_heard() -> None:
    assert (NEW.waiting_for, NEW.progress, NEW.failure, NEW.doubt) == ("nobody has created it", None, None, None)


def test_stages_as_they_are_reached() -> None:
    states = [pod(node=""), pod(), pod(RUNNING)]
    reached = [after(*states[:count]).progress for count in (1, 2, 3)]
    assert reached == [
        PodProgress(Stage.CREATED, NAME),
        PodProgress(Stage.SCHEDULED, NAME, "node1"),
        PodProgress(Stage.STARTED, NAME, "node1"),
    ]


def test_a_pod_that_falls_back_keeps_the_furthest_stage() -> None:
    assert after(pod(RUNNING), pod(waiting("ContainerCreating"))).progress == PodProgress(Stage.STARTED, NAME, "node1")


def test_only_events_tell_that_the_image_is_pulled() -> None:
    pulling = event("Pulling", 'Pulling image "x"')
    assert after(pod()).heard(pulling).progress == PodProgress(Stage.PULLING, NAME, 'Pulling image "x"')


def test_an_event_that_comes_late_changes_no_stage() -> None:
    started = after(pod(RUNNING))
    assert started.heard(event("Pulling", "Pulling")).progress == started.progress


def test_a_warning_is_what_the_pod_waits_for() -> None:
    warned = NEW.heard(event("FailedMount", "timed out waiting.", "Warning"))
    assert warned.waiting_for == "timed out waiting"


def test_other_events_tell_nothing() -> None:
    assert NEW.heard(event("Scheduled", "Successfully assigned")) == NEW
    assert NEW.heard(event("Pulling", "of a pod that has not been seen")) == NEW


def test_what_the_pod_waits_for_is_read_from_its_last_state() -> None:
    assert after(pod(waiting("ContainerCreating"))).waiting_for == "its container waits (ContainerCreating)"
    lacking = PodWatch("", once_started="its container runs, but is not ready")
    assert after(pod(RUNNING), watch=lacking).waiting_for == "its container runs, but is not ready"


def test_a_failure_stands_as_long_as_the_state_shows_it() -> None:
    failing = after(pod(waiting("ErrImagePull", "denied")))
    assert isinstance(failing.failure, ImagePullFailed)
    assert failing.seen(pod(RUNNING)).failure is None


def test_a_container_that_ended_is_a_failure_unless_it_is_started_again() -> None:
    assert isinstance(after(pod(ENDED)).failure, PodFailed)
    restarting = PodWatch("", may_restart=True)
    assert after(pod(ENDED), watch=restarting).failure is None
    assert isinstance(after(pod(waiting("CrashLoopBackOff")), watch=restarting).failure, PodFailed)


class TestDoubt:
    def test_while_the_scheduler_finds_no_node(self) -> None:
        doubting = after(pod(node="", conditions=[NO_NODE]), pod(node=""))
        assert isinstance(doubting.doubt, PodUnschedulable)
        assert doubting.failure is None

    def test_ends_when_the_pod_has_a_node(self) -> None:
        assert after(pod(node="", conditions=[NO_NODE]), pod()).doubt is None

    def test_ends_when_a_node_is_coming(self) -> None:
        doubting = after(pod(node="", conditions=[NO_NODE]))
        assert doubting.heard(event("TriggeredScaleUp", "1->2")).doubt is None


def test_a_volume_that_cannot_be_mounted_is_told_at_once() -> None:
    absent = 'MountVolume.SetUp failed for volume "x" : secret "db" not found'
    failure = after(pod()).heard(event("FailedMount", absent, "Warning")).failure
    assert isinstance(failure, PodFailed)
    assert "there is no secret db" in failure.message
    elsewhere = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) db-0'
    assert isinstance(after(pod()).heard(event("FailedAttachVolume", elsewhere, "Warning")).failure, PodFailed)
    passing = 'MountVolume.SetUp failed for volume "x" : failed to sync secret cache: timed out'
    assert after(pod()).heard(event("FailedMount", passing, "Warning")).failure is None
