"""What needs no root imports nothing that only Linux has: modules are withheld from ktpy, in processes of their own."""

import subprocess
import sys

import pytest

UNIX_ONLY = ["fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog", "uvloop"]
"""Windows lacks these."""
LINUX_ONLY = ["pyroute2"]
PORTABLE = ["disk", "launch", "private.messages", "protocol", "resolv_conf", "routable", "wire"]
"""Of ktpy.helper: what both processes share, and what only computes."""

WITHHOLD = """
import builtins, socket, sys
withheld, portable = sys.argv[1].split(","), sys.argv[2].split(",")
real = builtins.__import__

def refuse(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.startswith("ktpy."):
        module, _, part = name.partition("ktpy.helper")
        parts = [part.strip(".")] if part else list(fromlist or ())
        if name.partition(".")[0] in withheld or (not module and not set(parts) <= set(portable)):
            raise ImportError(f"{importer} imports {name} {fromlist or ''}")
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = refuse
"""

RUN = """
for name in ("AF_NETLINK", "TCP_KEEPIDLE", "TCP_CONGESTION", "SO_PEERCRED"):
    delattr(socket, name)
import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from ktpy.capture.spec import CaptureSpec
from ktpy.dns.zone import Zone
from ktpy.kube import connections
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.sessions.options import listen_for_proxy
from ktpy.wire.session import AgentHello

async def dial(make, host, port):
    return await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nweb")

async def main():
    uplink = SimpleNamespace(create_connection=dial)
    hello = AgentHello("0.1.0", ("10.96.0.10",), ("shop.svc.cluster.local",), 1)
    web = await asyncio.start_server(serve, "127.0.0.1", 0)
    zone = Zone()
    zone.synced = True
    zone.upsert_service({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.7"}})
    async with AsyncExitStack() as undo:
        front = await CaptureSpec("proxy").load().prepare(listen_for_proxy(None), undo, print)
        server = await front.start_pump(uplink, None, undo, dial=uplink.create_connection)
        serving = asyncio.create_task(server.wait_closed())
        await front.serve_names(
            zone, uplink, hello, "shop", extra_zones=[], routed=[], work=None, counters={}, on_alias=None
        )
        url = front.proxy_status(ApiEndpoint("api.example", 443)).environment["HTTP_PROXY"]
        for proxy in (url, f"http://127.0.0.1:{front.port}"):
            target = f"http://web:{web.sockets[0].getsockname()[1]}/"
            curl = await asyncio.create_subprocess_exec("curl", "-sS", "-w", " %{http_code}\\\\n", "-x", proxy, target)
            await curl.wait()
        serving.cancel()

asyncio.run(main())
"""


def python(script: str, withheld: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHHOLD + script, ",".join(withheld), ",".join(PORTABLE)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "ktpy.cli.main",
        "ktpy.sessions.connect",
        "ktpy.sessions.running",
        "ktpy.capture.proxy.front",
        "ktpy.sessions.intercept",
        "ktpy.sessions.run_proxied",
        "ktpy.serve.route",
        "ktpy.serve.routes",
        "ktpy.cluster.changes.registry",
        "ktpy.link.uplink",
    ],
)
def test_connect_by_proxy_and_intercepts_import_nothing_of_linux_or_unix(module: str) -> None:
    done = python(f"import {module}", [*UNIX_ONLY, *LINUX_ONLY])
    assert done.returncode == 0, done.stderr


def test_the_front_of_the_tun_does() -> None:
    """So the modules are withheld indeed."""
    assert (
        "ktpy.capture.tun.kernel_flows imports ktpy.helper"
        in python("import ktpy.capture.tun.front", LINUX_ONLY).stderr
    )


def test_the_proxy_runs_without_what_macos_lacks() -> None:
    """There the kernel does not tell whose a connection is, so the URL has a password, and none goes without."""
    done = python(RUN, LINUX_ONLY)
    assert done.returncode == 0, done.stderr
    allowed, refused = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert allowed == "web 200"
    assert refused.endswith(" 407")
