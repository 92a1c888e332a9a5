"""renameat2(2) by ctypes: names are exchanged, or given where there was none, in one step."""

import errno
import os
from collections.abc import Callable
from functools import cache
from typing import Final

_NO_REPLACE: Final = 1
_EXCHANGE: Final = 2
_UNSUPPORTED: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def exchange(folder: int, one: bytes, other: bytes) -> bool:
    """Exchange two names of a folder; False where the kernel or the file system cannot. Raises OSError."""
    return _rename(folder, one, folder, other, _EXCHANGE)


def move_to_free(old_folder: int, old: bytes, folder: int, new: bytes) -> None:
    """Rename, unless the new name is taken: that raises FileExistsError. Raises OSError."""
    if _rename(old_folder, old, folder, new, _NO_REPLACE):
        return
    try:  # as good as it gets here
        os.stat(new, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=folder)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _rename(old_folder: int, old: bytes, folder: int, new: bytes, flags: int) -> bool:
    call = _renameat2()
    code = call(old_folder, old, folder, new, flags) if call else errno.ENOSYS
    if code in _UNSUPPORTED:
        return False
    if code:
        raise OSError(code, os.strerror(code))
    return True


@cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """Return renameat2, which returns an errno; None where there is no ctypes, or it is not in the C library."""
    try:
        import ctypes
    except ImportError:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return None

    def call(old_folder: int, old: bytes, folder: int, new: bytes, flags: int) -> int:
        failed = library.renameat2(old_folder, old, folder, new, ctypes.c_uint(flags))
        return ctypes.get_errno() if failed else 0

    return call
