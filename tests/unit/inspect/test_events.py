"""The events are the same after they crossed the control socket."""

import json

import pytest

from ktpy.inspect.events import ConnectionUnread, ReplayRefused, RequestsMissed, WatchBegun, WatchEvent, decode, encode
from tests.kit.watched import REQUEST


@pytest.mark.parametrize(
    "event",
    [
        WatchBegun("mesh", "web", "shop", "5e55", "requests with VERSION: a", 2),
        RequestsMissed(3),
        ConnectionUnread(80, "it is TLS"),
        ReplayRefused("none"),
        REQUEST,
    ],
)
def test_there_and_back(event: WatchEvent) -> None:
    assert decode(json.loads(json.dumps(encode(event, bodies=True, secrets=True)))) == event
