"""The full-screen view of `ktpy watch`, driven by keys, of a real session's control socket and real requests."""

import asyncio
import json
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ktpy.cli.watch import asking
from ktpy.cli.watch_feed import WatchFeed
from ktpy.cli.watch_screen import RequestList, WatchScreen
from ktpy.errors import KtpyError
from ktpy.inspect.choice import Choice
from tests.kit.waiting import until
from tests.kit.watched_session import JSON, WatchedSession, watched_session


class View:
    """The view in a terminal of 120 columns."""

    def __init__(self, app: WatchScreen, pilot: Pilot[KtpyError]) -> None:
        self.app, self._pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self.press("slash")
        self.app.query_one(Input).value = text
        await self.press("enter")

    def text(self) -> str:
        """What is on the terminal."""
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    def rows(self) -> list[str]:
        return [told.path for told in self.app.screen_stack[0].query_one(RequestList).rows]

    async def until(self, *words: str) -> None:
        try:
            await until(lambda: all(word in self.text() for word in words))
        except AssertionError:
            raise AssertionError(f"{words} are not all on:\n{self.text()}") from None


@asynccontextmanager
async def viewing(session: WatchedSession, folder: Path, choice: Choice | None = None) -> AsyncIterator[View]:
    app = WatchScreen(WatchFeed(asking(session.path, secrets=False)), choice or Choice(), secrets=False, folder=folder)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        view = View(app, pilot)
        await view.until("mesh of web, namespace shop: requests with VERSION: alice")
        yield view


async def test_requests_are_listed_filtered_and_stand_still_in_a_pause(tmp_path: Path) -> None:
    async with watched_session(tmp_path) as session, viewing(session, tmp_path, Choice(statuses=("4xx",))) as view:
        await session.ask("/json", "/lost?a=1")
        await view.until("1 shown, 2 kept", "4xx")
        [row] = [line for line in view.text().splitlines() if "/lost" in line]
        words = row.split()
        assert (words[1], words[3], words[6:8], words[8][0]) == ("GET", "404", ["12", "B"], "s")
        assert words[8:11] == ["shop/1.0", f":{view.app._feed.kept.get(2).local_port}", "VERSION:"]  # type: ignore[union-attr]

        await view.type("api")
        await view.until("'api' is no method, status or path")
        assert view.rows() == ["/lost?a=1"]
        await view.type("GET /json")
        await view.until("1 shown, 2 kept")
        assert view.rows() == ["/json"]
        await view.type("")
        await view.until("2 shown, 2 kept")

        await view.press("p")
        await session.ask("/while-paused")
        await view.until("PAUSED, 2 shown, 3 kept")
        await view.type("/while-paused")
        await view.until("1 shown, 3 kept")
        assert view.rows() == ["/while-paused"]


async def test_a_request_is_shown_whole_as_curl_sent_again_and_exported(tmp_path: Path) -> None:
    async with watched_session(tmp_path) as session, viewing(session, tmp_path) as view:
        await session.ask("/json", method="POST", body=b"\x1b[2J\x00")
        await session.ask("/binary")
        await view.until("2 shown, 2 kept")
        await view.press("enter")
        await view.until("/binary", "Authorization: ***", "00000020  20 21 22 23", "answered by", "sent by")
        await view.press("escape", "up", "enter")
        await view.until("POST /json", "00000000  1b 5b 32 4a 00", '"items": [', "      1,", "[red]")
        await view.press("c")
        await view.until("| base64 -d | curl -i", "as a command of curl")
        assert view.app.clipboard.startswith("echo G1sySgA= | base64 -d | curl -i")

        await view.press("escape", "r")
        await view.until("POST /json, sent again to local port", "the same")
        assert [seen for seen in session.seen if seen[1] == "/json"] == [("POST", "/json", "Bearer t0ken")] * 2

        await view.press("escape", "escape", "e")
        await view.until("2 requests are in")
    archive = next(tmp_path.glob("ktpy-web-*.har")).read_text()  # noqa: ASYNC240
    entries = json.loads(archive)["log"]["entries"]
    assert [one["response"]["status"] for one in entries] == [200, 200]
    assert entries[0]["response"]["content"]["text"] == JSON.decode()
    assert "t0ken" not in archive


async def test_the_newest_is_chosen_until_another_is(tmp_path: Path) -> None:
    async with watched_session(tmp_path) as session, viewing(session, tmp_path) as view:
        listed = view.app.query_one(RequestList)
        await session.ask(*(f"/{number}" for number in range(60)))
        await view.until("60 shown, 60 kept", "/59 ")
        await view.press("up")
        assert listed.chosen is not None
        assert listed.chosen.path == "/58"
        await session.ask("/60")
        await view.until("61 shown, 61 kept")
        assert listed.chosen.path == "/58"
        await view.press("home")
        assert listed.chosen.path == "/0"
        await view.until("/0 ")
        await view.press("end")
        await session.ask("/61")
        await view.until("/61 ")
        assert listed.chosen.path == "/61"


async def test_what_cannot_be_done_is_told_and_a_session_that_ends_stays_to_be_read(tmp_path: Path) -> None:
    async with watched_session(tmp_path) as session, viewing(session, tmp_path / "gone") as view:
        await view.press("enter", "c", "r", "e")  # there is no request yet
        await view.until("/gone/ktpy-web-", "No such file or directory.")
        await session.ask("/json", method="POST", body=bytes(70_000))
        await view.until("1 shown, 1 kept")
        await view.press("r")
        await view.until("Request 1 has a body of 70000 bytes")
        session.ended.set()
        await view.until("1 shown, 1 kept, The session has ended.")


async def test_no_session_is_an_error(tmp_path: Path) -> None:
    app = WatchScreen(WatchFeed(asking(tmp_path / "none", secrets=False)), Choice(), secrets=False, folder=tmp_path)
    async with app.run_test():
        pass
    assert isinstance(app.return_value, KtpyError)
    assert "is not reachable" in app.return_value.message


VIEW = """
import sys
from pathlib import Path
from ktpy.cli.watch import _view
from ktpy.inspect.choice import Choice
_view(Path(sys.argv[1]), Choice(), secrets=False)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_puts_the_terminal_back(tmp_path: Path, number: signal.Signals) -> None:
    outside, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    before = termios.tcgetattr(terminal)
    drawn = bytearray()
    asyncio.get_running_loop().add_reader(outside, lambda: drawn.extend(os.read(outside, 1 << 16)))
    try:
        async with watched_session(tmp_path) as session:
            command = (sys.executable, "-c", VIEW, os.fspath(session.path))
            environment = {**os.environ, "TERM": "xterm"}
            process = await asyncio.create_subprocess_exec(
                *command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
            )
            await until(lambda: b"mesh of web" in drawn)
            if number is signal.SIGINT:
                os.write(outside, b"\x03")  # as the key does: the view has the terminal in raw mode
            else:
                process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        await until(lambda: b"\x1b[?1049l" in drawn, "the other screen is left")
        assert termios.tcgetattr(terminal) == before
        assert b"Traceback" not in drawn
    finally:
        asyncio.get_running_loop().remove_reader(outside)
        os.close(outside)
        os.close(terminal)
