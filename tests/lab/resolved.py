"""systemd-resolved for real, on the laptop alone, with a message bus of its own.

Its Debian package must never be *installed* by the lab: the installation replaces the machine's own /etc/resolv.conf.
It is downloaded and unpacked into the cache, and runs from the lab's state directory.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from tests.lab import debian, unpacked
from tests.lab.errors import LabError
from tests.lab.layout import RESOLVER_IPV4, Layout
from tests.lab.namespaces import mount
from tests.lab.network import LINK
from tests.lab.processes import ProcessRecord, wait_until
from tests.lab.upstream_resolver import SEARCH_DOMAIN

PACKAGE = "systemd-resolved"
KIND = "resolved"
ACCOUNT = "systemd-resolve"
RUN_DIR = Path("/run/systemd/resolve")
STUB_RESOLV_CONF = RUN_DIR / "stub-resolv.conf"
BUS_SOCKET = Path("/run/dbus/system_bus_socket")
RECORDS = {name: Path("/run/lab") / name for name in ("resolved", "message-bus")}
RESOLVECTL = Path("/run/lab/bin/resolvectl")
SYSTEM_BIN = Path("/usr/sbin")
CAPABILITIES = "+net_bind_service,+net_raw,+setpcap"
CONFIGURATION = "[Resolve]\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n"


# --- on the machine


def fetch(layout: Layout) -> None:
    """Put the unpacked package where the laptop sees it. Not for two at a time: hold the lab's lock."""
    debian.ensure_packages(debian.RESOLVED_REQUIREMENTS)
    unpacked.fetch(layout, KIND, [PACKAGE])


def in_cache() -> Path:
    """Debian's package in the cache, never installed: installing it replaces /etc/resolv.conf."""
    return unpacked.in_cache(KIND, [PACKAGE])


def daemon(root: Path) -> Path:
    """The program of a package that is unpacked there: below lib/, since Debian 13 below usr/lib/."""
    if (found := next(root.rglob("systemd/systemd-resolved"), None)) is None:
        raise LabError(f"{PACKAGE} is not unpacked at {root}")
    return found


# --- on the laptop


def start(layout: Layout) -> None:
    root = unpacked.on_laptop(layout, KIND)
    variables = {"PATH": debian.SYSTEM_PATH, **unpacked.library_path(root)}
    _make_account()
    _start_bus(root)
    Path("/etc/systemd").mkdir(exist_ok=True)
    Path("/etc/systemd/resolved.conf").write_text(CONFIGURATION)
    RUN_DIR.mkdir(parents=True, exist_ok=True)
    shutil.chown(RUN_DIR, ACCOUNT, ACCOUNT)
    setpriv = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]
    with (layout.log_dir / "resolved.log").open("ab") as log:
        process = subprocess.Popen(
            [*setpriv, f"--ambient-caps={CAPABILITIES}", f"--inh-caps={CAPABILITIES}", str(daemon(root))],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    ProcessRecord.of(process.pid).write(RECORDS["resolved"])
    process.returncode = 0  # lives on
    _write_resolvectl(root)
    wait_until(STUB_RESOLV_CONF.exists, 10, f"systemd-resolved to write {STUB_RESOLV_CONF}")
    wait_until(lambda: _resolvectl("status") == 0, 10, "systemd-resolved to answer on the message bus")
    # Per link, as NetworkManager and systemd-networkd do it.
    for arguments in (("dns", LINK, RESOLVER_IPV4), ("domain", LINK, SEARCH_DOMAIN), ("default-route", LINK, "yes")):
        if _resolvectl(*arguments) != 0:
            raise LabError(f"resolvectl {' '.join(arguments)} failed")


def stop() -> None:
    """End what `start` started; no-op when nothing was."""
    for path in RECORDS.values():
        record = ProcessRecord.read(path)
        if record is not None:
            record.kill()
            path.unlink()
    if RESOLVECTL.exists() and SYSTEM_BIN.is_mount():
        subprocess.run(["umount", "--lazy", SYSTEM_BIN], check=True)
    RESOLVECTL.unlink(missing_ok=True)
    BUS_SOCKET.unlink(missing_ok=True)
    shutil.rmtree(RUN_DIR, ignore_errors=True)


def _resolvectl(*arguments: str) -> int:
    return subprocess.run([RESOLVECTL, *arguments], capture_output=True, check=False).returncode


def _write_resolvectl(root: Path) -> None:
    unpacked.write_launcher(RESOLVECTL, root / "usr/bin/resolvectl", root)
    # Root looks for it in the system's own folders alone.
    mount("-t", "overlay", "-o", f"lowerdir={RESOLVECTL.parent}:{SYSTEM_BIN}", "overlay", SYSTEM_BIN)


def _make_account() -> None:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        number = next(number for number in range(998, 100, -1) if number not in taken)
        for path, line in (
            ("/etc/passwd", f"{ACCOUNT}:x:{number}:{number}::/:/usr/sbin/nologin"),
            ("/etc/group", f"{ACCOUNT}:x:{number}:"),
        ):
            with Path(path).open("a") as file:
                file.write(f"{line}\n")


def _start_bus(root: Path) -> None:
    policies = Path("/etc/dbus-1/system.d")
    policies.mkdir(parents=True, exist_ok=True)
    for policy in root.glob("usr/share/dbus-1/system.d/*.conf"):
        shutil.copy(policy, policies)
    BUS_SOCKET.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        ["dbus-daemon", "--system", "--fork", "--nopidfile", "--print-pid=1"],
        env={**os.environ, "PATH": debian.SYSTEM_PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ProcessRecord.of(int(done.stdout)).write(RECORDS["message-bus"])
