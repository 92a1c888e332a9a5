"""What a view has of a session."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ktpy.cli.watch_feed import WatchFeed
from ktpy.errors import KtpyError, UsageError
from ktpy.inspect.choice import Choice
from ktpy.inspect.events import ConnectionUnread, ReplayRefused, RequestsMissed, WatchBegun, WatchEvent
from ktpy.inspect.record import HttpMessage, WatchedRequest
from ktpy.inspect.store import KEPT_LIMIT_BYTES
from tests.kit.watched import REQUEST

BEGUN = WatchBegun("mesh", "web", "shop", "5e55", "requests with VERSION: a", 2)


def telling(*events: WatchEvent) -> tuple[WatchFeed, list[WatchedRequest | None], list[tuple[str, dict[str, Any]]]]:
    """A feed of these events, a place for what has changed, and what is asked of the session."""
    asked: list[tuple[str, dict[str, Any]]] = []

    async def ask(verb: str, **more: Any) -> AsyncIterator[WatchEvent]:
        asked.append((verb, more))
        for event in events:
            yield event

    return WatchFeed(ask), [], asked


async def test_requests_and_what_is_to_be_said_of_them() -> None:
    later, grown = replace(REQUEST, id=8, status=503), replace(REQUEST, took_s=1.0)
    feed, changed, asked = telling(BEGUN, REQUEST, later, grown, RequestsMissed(3), RequestsMissed(1))
    assert (feed.title, feed.why, feed.state) == ("", "", "0 kept")
    await feed.follow(changed.append)
    assert asked == [("watch", {})]
    assert changed == [None, REQUEST, later, grown, None, None, None]
    assert feed.chosen(Choice()) == [grown, later]
    assert feed.chosen(Choice(statuses=("5xx",))) == [later]
    assert feed.title == "mesh of web, namespace shop: requests with VERSION: a"
    assert feed.state == (
        "2 kept, 4 missed: they came faster than they were read, 2 connections are older than this view, "
        "The session has ended."
    )


async def test_of_notes_about_connections_the_last_is_said() -> None:
    feed, changed, _ = telling(ConnectionUnread(80, "it is TLS"), ConnectionUnread(81, "it is no HTTP"))
    await feed.follow(changed.append)
    assert feed.state == "0 kept, a connection of port 81 is not shown: it is no HTTP, The session has ended."


async def test_what_is_kept_is_bounded() -> None:
    large = HttpMessage((), 1 << 20, bytes(1 << 20))
    feed, changed, _ = telling(*(replace(REQUEST, id=number, answer=large) for number in range(40)))
    await feed.follow(changed.append)
    kept = feed.chosen(Choice())
    assert sum(len(one.answer.body) for one in kept) <= KEPT_LIMIT_BYTES
    assert kept[-1].id == 39


async def test_a_replay() -> None:
    feed, _, asked = telling(REQUEST, replace(REQUEST, status=500))
    assert "200         500" in "\n".join(await feed.replay(7))
    assert asked == [("replay", {"id": 7})]
    with pytest.raises(UsageError, match="There is no request 9"):
        await telling(ReplayRefused("There is no request 9."))[0].replay(9)
    with pytest.raises(KtpyError, match="nothing is known of an answer"):
        await telling(REQUEST)[0].replay(7)
