import pytest

from ktpy.observe.events import Ended, Event, Notice, Ready, Step, decode, encode


@pytest.mark.parametrize(
    "event",
    [
        Step("pod", "started on node1", 0.5),
        Notice("undone: a link"),
        Ready({"server": "https://a", "ranges": []}),
        Ended(24, "the pod is not ready", "try again\nlater"),
    ],
)
def test_an_event_survives_the_pipe_on_one_line(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert decode(line) == event
