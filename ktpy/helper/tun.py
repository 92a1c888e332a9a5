"""This module opens the TUN device (Documentation/networking/tuntap.rst of the kernel)."""

import errno
import fcntl
import os
import struct
from pathlib import Path

from ktpy.errors import TunUnavailable
from ktpy.packet.headers import VNET_HEADER_BYTES

DEVICE = Path("/dev/net/tun")

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40


class InterfaceNameTaken(Exception):
    """There is a device of this name."""


def open_device(name: str) -> int:
    """Make the TUN device `name`, never joining an existing one; return its non-blocking descriptor.

    With checksum and TCP segmentation offload the kernel hands over packets of up to 64 KB. The device lives
    until the last copy of the descriptor is closed. Raises `InterfaceNameTaken` and `TunUnavailable`.
    """
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise _unavailable(exc) from exc
    try:
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
        _set_offload(descriptor)
    except OSError as exc:
        os.close(descriptor)
        if exc.errno == errno.EBUSY:
            raise InterfaceNameTaken(name) from exc
        raise _unavailable(exc) from exc
    return descriptor


def _set_offload(descriptor: int) -> None:
    """Take bundles of TCP segments, and of datagrams where the kernel has them (Linux 6.2)."""
    tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
    try:
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6)
    except OSError:
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, tcp)


def _unavailable(exc: OSError) -> TunUnavailable:
    match exc.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return TunUnavailable(
                f"This machine has no TUN device ({DEVICE}: {exc.strerror}); nothing was changed.",
                hint="Load the kernel module: sudo modprobe tun\n"
                "In a container: start it with --device /dev/net/tun --cap-add NET_ADMIN",
            )
        case errno.EPERM | errno.EACCES:
            return TunUnavailable(
                f"Even root may not open a TUN device here ({exc.strerror}); nothing was changed.",
                hint="In a container: start it with --device /dev/net/tun --cap-add NET_ADMIN",
            )
    return TunUnavailable(f"The TUN device cannot be opened ({exc.strerror}); nothing was changed.")
