"""The system call bpf(2): hash maps, and the loading of programs for traffic control.

Only root makes either; who is handed a map's descriptor may use it without a right of his own (Linux 5.19). Every
failure is an OSError: EPERM where that is not allowed, ENOSYS where the kernel has no such call.
"""

import ctypes
import errno
import os
import platform
import struct
from typing import Final

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}
"""__NR_bpf by the machine, as uname(2) names it."""

# linux/bpf.h; the parts of union bpf_attr that belong to each command
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD = 0, 2, 3, 5
_OF_CREATE: Final = struct.Struct("=IIIII")
"""map_type, key_size, value_size, max_entries, map_flags"""
_OF_ENTRY: Final = struct.Struct("=I4xQQQ")
"""map_fd, key, value, flags"""
_OF_LOAD: Final = struct.Struct("=IIQQIIQII16s")
"""prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name"""
_MAP_TYPE_HASH: Final = 1
_NO_PREALLOC: Final = 1
_PROG_TYPE_SCHED_CLS: Final = 3
_LICENSE: Final = b"Dual MIT/GPL\0"
"""As the kernel writes it (linux/license.h)."""
INSTRUCTION_BYTES: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attributes: bytes) -> int:
    """Make the call, and return what it returns. Raises OSError."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = _libc.syscall(number, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def create_hash(key_bytes: int, value_bytes: int, entries: int) -> int:
    """Return the descriptor of a new map, which takes memory only for the entries that there are."""
    return call(_MAP_CREATE, _OF_CREATE.pack(_MAP_TYPE_HASH, key_bytes, value_bytes, entries, _NO_PREALLOC))


def put(map_fd: int, key: bytes, value: bytes) -> None:
    """Add an entry or replace it. Both must be as long as the map's are. Raises OSError, E2BIG when it is full."""
    held = ctypes.c_char_p(key), ctypes.c_char_p(value)
    call(_MAP_UPDATE, _OF_ENTRY.pack(map_fd, *(ctypes.cast(one, ctypes.c_void_p).value for one in held), 0))


def remove(map_fd: int, key: bytes) -> None:
    """Remove an entry. Raises OSError, ENOENT when there is none."""
    held = ctypes.c_char_p(key)
    call(_MAP_DELETE, _OF_ENTRY.pack(map_fd, ctypes.cast(held, ctypes.c_void_p).value, 0, 0))


def load(instructions: bytes, name: str) -> int:
    """Have the kernel verify a program of traffic control (tc-bpf(8)); return its descriptor. Raises OSError."""
    held = ctypes.c_char_p(instructions), ctypes.c_char_p(_LICENSE)
    code, terms = (ctypes.cast(one, ctypes.c_void_p).value for one in held)
    count = len(instructions) // INSTRUCTION_BYTES
    return call(_PROG_LOAD, _OF_LOAD.pack(_PROG_TYPE_SCHED_CLS, count, code, terms, 0, 0, 0, 0, 0, name.encode()))
