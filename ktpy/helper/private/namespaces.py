"""This module makes the namespaces of one program, as their user, with or without root (user_namespaces(7))."""

import ctypes
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
KINDS: Final = ("user", "net", "mnt", "uts")
"""In the order in which they are entered: the first gives the rights for the others."""
PR_SET_DUMPABLE: Final = 4
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SLAVE: Final = 0x80000
_CAPABILITY_VERSION_3: Final = 0x20080522  # linux/capability.h
_DEVICE: Final = Path("/dev/net/tun")
_FUSE: Final = Path("/dev/fuse")
_OWN_FUSE: Final = _DEVICE.with_name("fuse")
"""For a user who may not open the other."""
_SYSTEM: Final = Path("/proc/sys/net/ipv4")

_libc = ctypes.CDLL(None, use_errno=True)


def make(uid: int, gid: int) -> None:
    """Move this process, which has one thread, into namespaces that belong to `uid`; it has all capabilities there.

    Each id stands for itself in them, and there are no others. What is mounted outside later shows inside. Root may
    do this for a user who may not (sysctl, AppArmor). Raises OSError.
    """
    if os.geteuid() == 0 and uid != 0:
        with suppress(FileNotFoundError):  # which is told once it is to be opened
            if not _DEVICE.stat().st_mode & stat.S_IWOTH:
                _own_devices(uid)
        _become_with_capabilities(uid, gid)
    check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS))
    check(_libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # else what is in its /proc/self would be root's
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    mount("none", "/", None, MS_SLAVE | MS_REC)


def open_all() -> list[int]:
    """Return descriptors of this process's namespaces, in the order of KINDS."""
    return [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS]


def mount(source: str, target: str, file_system: str | None, flags: int = 0, options: str = "") -> None:
    """Do as mount(2). Raises OSError, with the target."""
    kind = file_system.encode() if file_system else None
    check(_libc.mount(source.encode(), os.fsencode(target), kind, flags, options.encode() or None), target)


def detach(target: str) -> None:
    """Unmount it once nobody uses it any more, what was bound from it included. Raises OSError."""
    check(_libc.umount2(os.fsencode(target), 2), target)  # MNT_DETACH


def set_host_name(name: str) -> None:
    check(_libc.sethostname(name.encode(), len(name.encode())))


def allow_low_ports_and_ping(gid: int) -> None:
    """Let a program without capabilities bind any port, and ping. Where /proc/sys is read-only nothing is changed."""
    for name, text in (("ip_unprivileged_port_start", "0"), ("ping_group_range", f"{gid} {gid}")):
        try:
            (_SYSTEM / name).write_text(text)
        except OSError:  # a container
            return


def open_fuse() -> int:
    """Open the FUSE device, as the kernel wants it: in the namespace that will mount. Raises OSError."""
    device = _OWN_FUSE if _OWN_FUSE.exists() else _FUSE
    return os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _own_devices(uid: int) -> None:
    """Show the user a TUN device that he may open, in place of the machine's, which only root may, and a FUSE device.

    In his namespaces they make devices of his own network and mount for his own programs, and others nowhere. Where
    root may make no device files (a container) nothing is changed.
    """
    numbers = {_DEVICE: _DEVICE.stat().st_rdev}
    with suppress(FileNotFoundError):
        numbers[_OWN_FUSE] = _FUSE.stat().st_rdev
    check(_libc.unshare(CLONE_NEWNS))
    mount("none", "/", None, MS_SLAVE | MS_REC)
    mount("tmpfs", str(_DEVICE.parent), "tmpfs", options="mode=755")
    try:
        for device, number in numbers.items():
            os.mknod(device, stat.S_IFCHR | 0o600, number)
            os.chown(device, uid, -1)
    except PermissionError:
        detach(str(_DEVICE.parent))


def _become_with_capabilities(uid: int, gid: int) -> None:
    """Have the user's ids in all that counts for owning a namespace, and root's capabilities still."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(0, uid, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    check(_libc.capget(header, data))
    _, permitted, inheritable, _, permitted_high, inheritable_high = struct.unpack("=6I", data.raw[:24])
    raised = struct.pack("=6I", permitted, permitted, inheritable, permitted_high, permitted_high, inheritable_high)
    check(_libc.capset(header, ctypes.create_string_buffer(raised, 24)))


def check(result: int, *names: str) -> None:
    """Raise the OSError of the last call of the C library, if that has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *names)
