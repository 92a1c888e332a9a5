"""The proxy on a real port, as programs use it: curl by every protocol, and Python's libraries."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.settings import environment
from tests.unit.capture.proxy.running import POD, port_of, proxying, web_server

LOGIN = ("ktpy", "secret")
PIPE = asyncio.subprocess.PIPE


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    async with proxying() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    with web_server() as port:
        yield port


async def run(proxy: ProxyServer, *command: str) -> tuple[int | None, str]:
    """Run a program that is told of the proxy; return its exit code, and what it printed."""
    own = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    told = own | environment(port_of(proxy), proxy.login, [])
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=told)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, (out + err).decode()


@pytest.mark.parametrize("way", ["--socks5-hostname", "--socks4a", "--proxy", "--proxytunnel"])
@pytest.mark.parametrize("host", ["web", "web.shop", POD, "outside.example"])
async def test_curl(proxy: ProxyServer, web: int, way: str, host: str) -> None:
    options = ["-p", "--proxy"] if way == "--proxytunnel" else [way]
    code, said = await run(proxy, "curl", "-sS", *options, f"127.0.0.1:{port_of(proxy)}", f"http://{host}:{web}/a?b")
    assert code == 0, said
    assert said.startswith("GET /a?b HTTP/1.1\n")
    assert f"Host: {host}:{web}" in said
    assert "roxy" not in said
    counted = proxy.dialler.counters
    assert (counted.cluster, counted.direct) == ((0, 1) if host == "outside.example" else (1, 0))


@pytest.mark.parametrize("way", ["socks5h", "socks4a", "http"])
@pytest.mark.parametrize("user", ["ktpy:secret", "ktpy:wrong", ""])
async def test_a_login(web: int, way: str, user: str) -> None:
    user = user.partition(":")[2] if way == "socks4a" else user
    async with proxying(LOGIN) as proxy:
        url = f"{way}://{user}{'@' if user else ''}127.0.0.1:{port_of(proxy)}"
        code, said = await run(proxy, "curl", "-sS", "--fail", "-x", url, f"http://web:{web}/")
    assert (code == 0) is ("secret" in user), said


async def test_ten_megabytes_each_way(proxy: ProxyServer, web: int) -> None:
    script = "head -c 10000000 /dev/zero | curl -sS --data-binary @- http://web:$0/ | tail -c +300 | wc -c"
    for options in ("", "-p"):
        code, said = await run(proxy, "sh", "-c", script.replace("-sS", f"-sS {options}"), str(web))
        assert code == 0
        assert int(said) > 9_999_000


REQUESTS = "import requests, sys; print(requests.get(sys.argv[1]).text)"
HTTPX = "import httpx, sys; print(httpx.get(sys.argv[1]).text)"
URLLIB = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(sys.argv[1]) as answer:
        print(await answer.text())
asyncio.run(main())
"""


@pytest.mark.parametrize("library", ["requests", "httpx", "urllib", "aiohttp"])
async def test_libraries_of_python(proxy: ProxyServer, web: int, library: str) -> None:
    pytest.importorskip(library)
    program = {"requests": REQUESTS, "httpx": HTTPX, "urllib": URLLIB, "aiohttp": AIOHTTP}[library]
    code, said = await run(proxy, sys.executable, "-c", program, f"http://web:{web}/x")
    assert code == 0, said
    assert said.startswith("GET /x HTTP/1.1\n")
    assert proxy.dialler.counters.cluster == 1
