"""Why this machine lets no user make a network for one program, and what to do about it."""

import os
from pathlib import Path
from typing import Final

from ktpy.errors import NamespacesForbidden
from ktpy.helper.tun import DEVICE

_WITHOUT: Final = "Or without it, for programs that heed a proxy: ktpy run --mode proxy ..."
_SYSCTLS: Final = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0", "AppArmor restricts user namespaces"),
    ("kernel/unprivileged_userns_clone", "0", "1", "the kernel is set to give users no namespaces"),
    ("user/max_user_namespaces", "0", "10000", "the kernel is set to allow no user namespace"),
    ("user/max_net_namespaces", "0", "10000", "the kernel is set to allow no network namespace"),
)
"""A setting below /proc/sys, its value that forbids, one that allows, and what that means."""
_BY_ROOT: Final = "or let sudo make them: sudo ktpy run ..."


def refused(error: OSError, proc: Path = Path("/proc")) -> NamespacesForbidden:
    """Return which rule forbids namespaces, for an error of making them or of setting up what is in them."""
    for name, forbids, allows, words in _SYSCTLS:
        if _read(proc / "sys" / name) == forbids:
            setting = name.replace("/", ".")
            by_root = "" if setting.startswith("user.") else f"\n{_BY_ROOT[0].upper()}{_BY_ROOT[1:]}"
            return _forbidden(
                f"{words} ({setting} = {forbids})", f"Allow them: sudo sysctl -w {setting}={allows}{by_root}"
            )
    if _is_filtered(proc) or _in_container():
        return _forbidden(
            f"the container or sandbox that ktpy runs in forbids user namespaces ({error.strerror})",
            "Start the container with --security-opt seccomp=unconfined --device /dev/net/tun",
        )
    return _forbidden(f"the kernel refuses them ({error})", "See what the kernel says of it: sudo dmesg | tail")


def tun_refused(error: OSError) -> NamespacesForbidden:
    """Return why the user may not open the TUN device."""
    if isinstance(error, PermissionError):
        return _forbidden(
            f"only root may open {DEVICE} ({error.strerror}), where other machines let everybody",
            f"Let everybody, until the next start: sudo chmod 0666 {DEVICE}",
        )
    return _forbidden(
        f"there is no {DEVICE} ({error.strerror})",
        "Load the kernel module: sudo modprobe tun\nIn a container: start it with --device /dev/net/tun",
    )


def _forbidden(why: str, fix: str) -> NamespacesForbidden:
    return NamespacesForbidden(
        f"ktpy cannot make a network for one program: {why}; nothing was changed.", hint=f"{fix}\n{_WITHOUT}"
    )


def _is_filtered(proc: Path) -> bool:
    """Tell whether a seccomp filter is at work (proc_pid_status(5))."""
    return any(line.split() == ["Seccomp:", "2"] for line in _read(proc / "self/status").splitlines())


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
