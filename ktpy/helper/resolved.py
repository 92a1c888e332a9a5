"""systemd-resolved takes, by resolvectl(1), name servers and domains that belong to a link and vanish with it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from ktpy.errors import ResolverNotWritable
from ktpy.helper.launch import SYSTEM_PATH
from ktpy.helper.protocol import SetResolver
from ktpy.helper.resolv_conf import parse
from ktpy.wire.resolv_conf import ParsedResolvConf

RUN_DIR = Path("/run/systemd/resolve")
STUB_FILE = RUN_DIR / "stub-resolv.conf"
"""What /etc/resolv.conf points to by default. resolved keeps the search domains of all links in it."""
UPLINK_FILE = RUN_DIR / "resolv.conf"
"""The name servers resolved itself asks."""
STUB_ADDRESS = "127.0.0.53"

CALL_TIMEOUT_S = 5.0
STUB_TIMEOUT_S = 2.0
STUB_POLL_S = 0.005


def in_charge(resolv_conf: Path) -> bool:
    """Tell whether this machine's programs ask systemd-resolved, and whether it runs.

    Where /etc/resolv.conf names other servers, programs ask those, and settings per link have no effect.
    """
    try:
        leads_to_stub = follows_stub(resolv_conf) or STUB_ADDRESS in parse(resolv_conf.read_bytes()).nameservers
    except OSError:
        return False
    return leads_to_stub and _answers()


def follows_stub(resolv_conf: Path) -> bool:
    """Tell whether it is a link to the file that resolved writes, with the search domains of all links."""
    return Path(os.path.realpath(resolv_conf)) == Path(os.path.realpath(STUB_FILE))


def uplink() -> ParsedResolvConf:
    """Return the name servers that resolved asks. Raises OSError."""
    return parse(UPLINK_FILE.read_bytes())


def set_link(link: str, wanted: SetResolver) -> None:
    """Give the link its name servers and domains. Raises ResolverNotWritable; `revert` then undoes what was set.

    The cluster's zones are neither signed nor served over TLS, whatever the machine demands elsewhere, and
    nothing but these domains is looked up here.
    """
    routing = (f"~{domain}" for domain in wanted.routing_domains)
    _run_all(
        ["dns", link, *map(str, wanted.nameservers)],
        ["domain", link, *wanted.search, *routing],
        ["default-route", link, "false"],
        ["dnssec", link, "no"],
        ["dnsovertls", link, "no"],
        ["llmnr", link, "no"],
        ["mdns", link, "no"],
    )


def revert(link: str) -> None:
    """Forget all settings of the link. Raises ResolverNotWritable."""
    _run_all(["revert", link])


def wait_for_search(domains: tuple[str, ...]) -> bool:
    """Wait until the stub file shows the domains, so that short names work; False after STUB_TIMEOUT_S."""
    deadline = time.monotonic() + STUB_TIMEOUT_S
    while not set(domains) <= set(parse(STUB_FILE.read_bytes()).search):
        if time.monotonic() >= deadline:
            return False
        time.sleep(STUB_POLL_S)
    return True


def _answers() -> bool:
    try:
        _run_all(["dns"])
    except ResolverNotWritable:
        return False
    return True


def _run_all(*calls: list[str]) -> None:
    """Run the calls side by side, because each mostly waits for its process and for the bus."""
    running: list[subprocess.Popen[str]] = []
    try:
        for call in calls:
            running.append(_start(call))  # noqa: PERF401 - what has started is waited for, should one fail to
        deadline = time.monotonic() + CALL_TIMEOUT_S
        complaints = [process.communicate(timeout=deadline - time.monotonic())[1] for process in running]
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ResolverNotWritable(f"systemd-resolved does not answer: {exc}") from exc
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    for call, process, complaint in zip(calls, running, complaints, strict=True):
        if process.returncode:
            raise ResolverNotWritable(f"systemd-resolved refuses `{' '.join(call)}`: {complaint.strip()}")


def _start(call: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [shutil.which("resolvectl", path=SYSTEM_PATH) or "/usr/bin/resolvectl", "--no-pager", *call],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
    )
