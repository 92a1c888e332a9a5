"""Debian and Ubuntu: the packages the lab needs, and root file systems from the machine's own apt sources."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.processes import die_with_parent
from tests.lab.report import say

# What must be there (a program on PATH, or a file) and the package that brings it. Asked by program, not by package:
# a machine with Docker's containerd.io has a containerd, and Debian's package would replace it.
# Never systemd-resolved: its installation replaces the machine's /etc/resolv.conf (see resolved.py).
# Never docker.io: its installation starts an engine on the machine (see docker.py).
REQUIREMENTS = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "sudo": "sudo",
}
NFTABLES = {"nft": "nftables"}
RUNC_SOURCES = {
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/include/seccomp.h": "libseccomp-dev",
}
"""What runc is built with."""
RESOLVED_REQUIREMENTS = {"dbus-daemon": "dbus", "setpriv": "util-linux"}

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _is_present(requirement: str) -> bool:
    if requirement.startswith("/"):
        return Path(requirement).exists()
    return shutil.which(requirement, path=f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}") is not None


def apt_get(*arguments: str, cwd: Path | None = None) -> None:
    """Run apt-get quietly; LabError with its last words when it fails."""
    done = subprocess.run(
        ["apt-get", "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"apt-get {' '.join(arguments)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def ensure_packages(requirements: dict[str, str]) -> None:
    """Install what is missing; never removes a package that is there."""
    missing = sorted({package for need, package in requirements.items() if not _is_present(need)})
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    apt_get("update")
    apt_get("install", "--yes", "--no-install-recommends", "--no-remove", *missing)


def architecture() -> str:
    """Debian's and OCI's name of this machine's architecture (they agree on amd64 and arm64)."""
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines if "=" in line)}


def sources(release: str) -> list[str]:
    """One-line apt sources of the machine's distribution for `release`, from wherever the machine itself fetches."""
    done = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN)|$(REPO_URI)|$(COMPONENT)|$(RELEASE)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    system = _os_release()
    lines = []
    for line in done.stdout.splitlines():
        origin, uri, component, suite = line.split("|")
        if origin.lower() == system["ID"] and suite == system["VERSION_CODENAME"]:
            lines.append(f"deb {uri} {release} {component}")
    return sorted(set(lines))


def base_release() -> str:
    """What images are built on: Debian 13 on a Debian (HAProxy 3.0, OpenSSH 10), else the machine's own release."""
    system = _os_release()
    return "trixie" if system["ID"] == "debian" else system["VERSION_CODENAME"]


def bootstrap(target: Path, *, variant: str, packages: list[str], hooks: Sequence[str] = ()) -> None:
    """Make a root file-system tar with mmdebstrap. Each hook is a script, whose $1 is the root when all is there."""
    release = base_release()
    found = sources(release)
    if not found:
        apt_get("update")  # a fresh container has no lists yet, so its sources are not known
        found = sources(release)
    if not found:
        raise LabError("apt-get knows no source of this machine's own distribution")
    done = subprocess.run(
        [
            "mmdebstrap",
            f"--variant={variant}",
            "--quiet",
            "--skip=output/dev",  # a container gets its own /dev
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            *([f"--include={','.join(packages)}"] if packages else []),
            *(f"--customize-hook={hook}" for hook in hooks),
            release,
            str(target),
            "-",
        ],
        input="\n".join(found) + "\n",
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "TMPDIR": str(target.parent)},  # what a killed run leaves goes with the partial artifact
        preexec_fn=die_with_parent,
    )
    if done.returncode != 0:
        raise LabError(f"mmdebstrap {release} failed:\n{done.stderr.strip()[-2000:]}")
