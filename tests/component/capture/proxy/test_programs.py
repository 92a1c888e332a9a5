"""Programs that are told of the proxy by what docs/connect.md says. Those that the machine lacks are left out."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from threading import Thread

import grpc
import pytest

from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.settings import pac_file
from tests.component.capture.proxy.test_server import run
from tests.unit.capture.proxy.running import port_of, proxying

TEXT = "from the cluster"
JAVA = """
import java.io.*; import java.net.*;
public class Get { public static void main(String[] a) throws Exception {
  try (InputStream in = new URL(a[0]).openStream()) { System.out.print(new String(in.readAllBytes())); } } }
"""
WHEEL = {
    "tiny.py": "",
    "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
    "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-1.dist-info/RECORD": "",
}


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    async with proxying() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server with a text, a repository of git's, and an index of pip's."""
    root = tmp_path_factory.mktemp("site")
    (root / "text").write_text(TEXT)
    subprocess.run(["git", "init", "-q", "--bare", root / "repository"], check=True)
    subprocess.run(["git", "update-server-info"], cwd=root / "repository", check=True)
    folder = root / "simple/tiny"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text('<a href="tiny-1-py3-none-any.whl">tiny</a>')
    with zipfile.ZipFile(folder / "tiny-1-py3-none-any.whl", "w") as wheel:
        for name, text in WHEEL.items():
            wheel.writestr(name, text)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(root))) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} on this machine")


async def test_git(proxy: ProxyServer, site: int, tmp_path: Path) -> None:
    needs("git")
    code, said = await run(proxy, "git", "clone", f"http://web:{site}/repository", str(tmp_path / "clone"))
    assert (code, "empty repository" in said) == (0, True), said


async def test_pip(proxy: ProxyServer, site: int, tmp_path: Path) -> None:
    index = [f"--index-url=http://web:{site}/simple/", "--trusted-host=web"]
    pip = [sys.executable, "-m", "pip", "download", "--isolated", "--no-deps", "-q", "-d", str(tmp_path)]
    code, said = await run(proxy, *pip, *index, "tiny")
    assert code == 0, said
    assert (tmp_path / "tiny-1-py3-none-any.whl").exists()


async def test_wget(proxy: ProxyServer, site: int) -> None:
    needs("wget")
    assert await run(proxy, "wget", "-qO-", f"http://web:{site}/text") == (0, TEXT)


@pytest.mark.parametrize("way", ["http", "socks"])
async def test_java(proxy: ProxyServer, site: int, way: str, tmp_path: Path) -> None:
    needs("javac")
    source = tmp_path / "Get.java"
    source.write_text(JAVA)
    prefix = "-Dhttp.proxy" if way == "http" else "-DsocksProxy"
    options = [f"{prefix}Host=127.0.0.1", f"{prefix}Port={port_of(proxy)}"]
    code, said = await run(proxy, "java", *options, str(source), f"http://web:{site}/text")
    assert code == 0, said
    assert TEXT in said


async def test_grpc(proxy: ProxyServer) -> None:
    program = "import grpc, sys; print(grpc.insecure_channel(sys.argv[1]).unary_unary('/t.T/E')(b'hi', timeout=20))"
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"E": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        code, said = await run(proxy, sys.executable, "-c", program, f"web:{port}")
        assert (code, said) == (0, "b'hi'\n")
    finally:
        await server.stop(None)


async def _echo(request: bytes, _: object) -> bytes:
    return request


async def test_what_has_no_setting_by_proxychains(proxy: ProxyServer, site: int, tmp_path: Path) -> None:
    needs("proxychains4")
    configuration = tmp_path / "proxychains.conf"
    configuration.write_text(f"strict_chain\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 {port_of(proxy)}\n")
    curl = ["curl", "-sS", "--noproxy", "*", f"http://web:{site}/text"]
    code, said = await run(proxy, "proxychains4", "-q", "-f", str(configuration), *curl)
    assert (code, TEXT in said) == (0, True), said


async def test_netcat_as_ssh_uses_it(proxy: ProxyServer, site: int) -> None:
    needs("nc")
    for way in ("5", "connect"):
        command = f"printf 'GET /text HTTP/1.0\r\n\r\n' | nc -X {way} -x 127.0.0.1:{port_of(proxy)} web {site}"
        code, said = await run(proxy, "sh", "-c", command)
        assert (code, TEXT in said) == (0, True), said


BROWSER = """
const number = text => text.split(".").reduce((sum, part) => sum * 256 + +part, 0)
function isInNet(host, network, mask) { return (number(host) & number(mask)) === (number(network) & number(mask)) }
function dnsDomainIs(host, domain) { return host.endsWith(domain) }
for (const host of process.argv.slice(1)) console.log(host, FindProxyForURL(`http://${host}/`, host))
"""


def test_the_pac_file_as_a_browser_reads_it() -> None:
    needs("node")
    ways = {
        "PROXY 127.0.0.1:1080": [
            "web",
            "web.SHOP",
            "db-0.db.shop",
            "web.shop.svc",
            "a.b.cluster.local",
            "10.96.3.4",
            "fd96::7",
        ],
        "DIRECT": ["localhost", "www.example.org", "shop.example", "10.97.0.1", "svc.example"],
    }
    pac = pac_file(1080, ["svc", "cluster.local"], ["shop"], [ip_network("10.96.0.0/16"), ip_network("fd96::/108")])
    command = ["node", "-e", pac + BROWSER, *(host for hosts in ways.values() for host in hosts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == [f"{host} {way}" for way, hosts in ways.items() for host in hosts]
