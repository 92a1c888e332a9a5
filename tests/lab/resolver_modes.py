"""How the laptop resolves names: the forms in which /etc/resolv.conf is found on real machines.

Runs on the laptop, as root; /etc there is a private overlay.

usage: python -m tests.lab.resolver_modes NAME MODE
"""

import subprocess
import sys
from pathlib import Path

from tests.lab import resolved
from tests.lab.errors import LabError
from tests.lab.layout import RESOLVER_IPV4, Layout
from tests.lab.namespaces import mount, mount_points
from tests.lab.upstream_resolver import SEARCH_DOMAIN

MODES = ("file", "symlink", "bind", "systemd-resolved")
RESOLV_CONF = Path("/etc/resolv.conf")
ELSEWHERE = Path("/run/resolvconf/resolv.conf")  # where a symbolic link, or a bind mount, takes it from
TEXT = f"""\
# the laptop's resolver before ktpy
nameserver {RESOLVER_IPV4}
search {SEARCH_DOMAIN}
options timeout:2 attempts:2
"""


def mode_file(layout: Layout) -> Path:
    return layout.run_dir / "resolver-mode"


def switch(layout: Layout, mode: str) -> None:
    """Take the present form away, whichever it is, and set up `mode`."""
    if mode not in MODES:
        raise LabError(f"{mode!r} is no way to resolve names: {', '.join(MODES)}")
    resolved.stop()
    while str(RESOLV_CONF) in mount_points():  # Path.is_mount knows directories only
        subprocess.run(["umount", RESOLV_CONF], check=True)
    RESOLV_CONF.unlink(missing_ok=True)
    if mode == "file":
        RESOLV_CONF.write_text(TEXT)
    elif mode == "symlink":
        _write_elsewhere()
        RESOLV_CONF.symlink_to(Path("..") / ELSEWHERE.relative_to("/"))
    elif mode == "bind":
        _write_elsewhere()
        RESOLV_CONF.touch()
        mount("--bind", ELSEWHERE, RESOLV_CONF)
    else:
        resolved.start(layout)
        RESOLV_CONF.symlink_to(Path("..") / resolved.STUB_RESOLV_CONF.relative_to("/"))
    mode_file(layout).write_text(mode)


def know_none() -> None:
    """For a laptop that nobody resolves names for."""
    RESOLV_CONF.unlink(missing_ok=True)
    RESOLV_CONF.write_text("# nobody resolves names for this laptop\n")


def _write_elsewhere() -> None:
    ELSEWHERE.parent.mkdir(parents=True, exist_ok=True)
    ELSEWHERE.write_text(TEXT)


if __name__ == "__main__":
    try:
        switch(Layout(sys.argv[1]), sys.argv[2])
    except LabError as error:
        sys.exit(str(error))
