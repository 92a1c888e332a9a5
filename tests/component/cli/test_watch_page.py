"""The page of `ktpy watch --web`, asked by a client and by a real browser."""

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from ktpy.cli.watch import asking
from ktpy.cli.watch_feed import WatchFeed
from ktpy.cli.watch_page import WatchPage
from tests.kit.chromium import chromium
from tests.kit.waiting import until
from tests.kit.watched_session import JSON, WatchedSession, watched_session


@asynccontextmanager
async def page(folder: Path) -> AsyncIterator[tuple[WatchedSession, str]]:
    """Yield the session and the page's address, once the page knows of it."""
    async with watched_session(folder) as session:
        feed = WatchFeed(asking(session.path, secrets=False))
        served = WatchPage(feed, secrets_shown=False)
        following = asyncio.create_task(feed.follow(served.told))
        try:
            async with served.serving() as url:
                await until(lambda: bool(feed.title))
                yield session, url
        finally:
            following.cancel()


async def test_who_has_not_the_address_or_comes_from_elsewhere_gets_nothing(tmp_path: Path) -> None:
    async with page(tmp_path) as (session, url), aiohttp.ClientSession() as client:
        await session.ask("/json")
        address = URL(url)
        for path in ("/", "/x/", "/x/events", f"/{address.parts[1][:-1]}x/", f"/{'é' * 43}/"):
            answer = await client.get(address.with_path(path))
            assert (answer.status, "json" in await answer.text()) == (404, False), path
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{address.port}"},
            {"Host": "127.0.0.1"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
        ):
            for method, path in (("GET", ""), ("GET", "requests/1"), ("POST", "requests/1/replay")):
                answer = await client.request(method, url + path, headers=headers)
                assert answer.status == 403, (headers, path)
                assert "Access-Control-Allow-Origin" not in answer.headers
        for method, path, status in (
            ("GET", "requests/1/replay", 405),
            ("POST", "requests/99/replay", 404),
            ("GET", "requests/x", 404),
            ("GET", "archive?filter=api", 400),
        ):
            assert (await client.request(method, url + path)).status == status
        assert len(session.seen) == 1

        answer = await client.get(url, headers={"Host": f"localhost:{address.port}"})
        policy = answer.headers["Content-Security-Policy"]
        assert (answer.status, "default-src 'none'" in policy, "unsafe" in policy) == (200, True, False)
        assert "http" not in (await answer.text()).replace("http-equiv", "")  # nothing from elsewhere


async def test_what_a_browser_is_told(tmp_path: Path) -> None:
    async with page(tmp_path) as (session, url), aiohttp.ClientSession(raise_for_status=True) as client:
        await session.ask("/before", "/json")
        async with client.get(url + "events?filter=/json 404") as events:
            await session.ask("/json/x", "/other", "/json")
            told: list[str] = []
            async with asyncio.timeout(60):
                while "5 kept" not in "".join(told):
                    told.append((await events.content.readline()).decode())
        rows = [row for line, data in pairwise(told) if line == "event: requests\n" for row in json.loads(data[6:])]
        assert [row["cells"][2] for row in rows] == ["/json/x"]
        assert rows[0]["cells"][-1] == "VERSION: alice"
        async with client.get(url + "events?filter=api") as events:
            assert b"event: refused" in await events.content.read()

        assert "Authorization: ***" in await (await client.get(url + "requests/2")).text()
        assert (await (await client.get(url + "requests/2/curl")).text()).startswith("curl -i")
        again = await (await client.post(url + "requests/2/replay")).text()
        assert "the same" in again
        assert session.seen[-1] == ("GET", "/json", "Bearer t0ken")
        archive = await (await client.get(url + "archive?filter=/json")).json()
        assert [one["request"]["method"] for one in archive["log"]["entries"]] == ["GET"] * 3
        assert archive["log"]["entries"][0]["response"]["content"]["text"] == JSON.decode()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
async def test_in_a_real_browser(tmp_path: Path) -> None:
    async with page(tmp_path) as (session, url), chromium(tmp_path / "profile") as browser:
        await session.ask("/json", "/lost?<img src=x onerror=alert(1)>")
        await browser.open(url)
        await browser.until("document.querySelectorAll('tbody tr').length === 2")
        assert await browser.value("document.title") == "mesh of web, namespace shop: requests with VERSION: alice"
        await session.ask("/binary")
        await browser.until("document.querySelectorAll('tbody tr').length === 3")

        await browser.value("document.querySelector('tbody tr').click()")
        await browser.until("document.querySelector('#told').innerText.includes('\"of\": \"<b>alice</b>')")
        (tmp_path / "screen.png").write_bytes(await browser.screenshot())
        await browser.value("document.querySelector('#replay').click()")
        await browser.until("document.querySelector('#told').innerText.includes('sent again to local port')")
        assert [path for _, path, _ in session.seen].count("/json") == 2

        await browser.value("document.querySelector('#pause').click()")
        await session.ask("/paused")
        await browser.until("document.querySelector('#state').innerText === '4 kept'")
        assert await browser.value("document.querySelectorAll('tbody tr').length") == 3
        await browser.value("document.querySelector('#pause').click()")
        await browser.until("document.querySelectorAll('tbody tr').length === 4")
        await browser.value("document.querySelector('#pause').click()")

        await browser.value(
            "document.querySelector('#filter').value = '404'; document.querySelector('form').requestSubmit()"
        )
        await browser.until("document.querySelectorAll('tbody tr').length === 2")
        await browser.value(
            "document.querySelector('#filter').value = 'api'; document.querySelector('form').requestSubmit()"
        )
        await browser.until("document.querySelector('#state').innerText.includes('is no method, status or path')")
        assert browser.complaints == []


SERVE = """
import sys
from pathlib import Path
from ktpy.cli.watch import _serve
from ktpy.inspect.choice import Choice
_serve(Path(sys.argv[1]), Choice(paths=("/json",)), "json", secrets=False)
"""


async def test_ctrl_c_ends_it_well_while_a_browser_is_told(tmp_path: Path) -> None:
    async with watched_session(tmp_path) as session, aiohttp.ClientSession() as client:
        command = (sys.executable, "-c", SERVE, os.fspath(session.path))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        url = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["url"]
        assert url.endswith("/?filter=%2Fjson")
        async with client.get(URL(url) / "events") as events:
            await events.content.readline()
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.communicate(), 60) == (b"", b"")
        assert process.returncode == 0
