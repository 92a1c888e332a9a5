"""This module saves one file in /etc as it is now, and puts it back byte for byte.

Each of three forms is replaced and restored in its own way:

- a regular file: a new one is renamed over it, so that no reader ever sees half of it;
- a symbolic link: the link itself is replaced, never what it points to (another program owns that);
- a bind mount (containers): it cannot be renamed over (EBUSY, rename(2)), so it is written in place.

On a full disk a file is put back in place, too: over ours, which takes as many blocks unless either is long.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ktpy.helper.disk import sync_folder, write_all

FS_IOC_GETFLAGS = 0x80086601
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20


@dataclass(frozen=True, slots=True)
class Attribute:
    """An Attribute is an extended one: an access list, a security label."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A Snapshot is a path's state. `content` is what a reader gets (a link followed); the rest describes the path."""

    form: str
    """`file`, `symlink`, `bind-mount` or `absent`."""
    content: bytes
    link_target: str | None
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: tuple[Attribute, ...]


def take(path: Path) -> Snapshot:
    """Take a path's state. A dangling link has empty content. Raises OSError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Snapshot("absent", b"", None, 0o644, 0, 0, 0, ())
    attributes: tuple[Attribute, ...] = ()
    target = None
    if stat.S_ISLNK(status.st_mode):
        form, target, content = "symlink", str(path.readlink()), b""
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
    else:
        form = "bind-mount" if _is_mount_point(path) else "file"
        content, attributes = path.read_bytes(), _read_attributes(path)
    return Snapshot(
        form,
        content,
        target,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        attributes,
    )


def overwritten(before: Snapshot, content: bytes, mtime_ns: int) -> Snapshot:
    """Return the state with other content, otherwise as like the original as its form allows."""
    if before.form in ("file", "bind-mount"):
        return replace(before, content=content, mtime_ns=mtime_ns)
    return Snapshot("file", content, None, 0o644, 0, 0, mtime_ns, ())


def put(path: Path, wanted: Snapshot) -> None:
    """Make the path what the snapshot says, atomically except for a bind mount. Raises OSError."""
    if wanted.form == "absent":
        path.unlink(missing_ok=True)
    elif wanted.form == "bind-mount" or _is_mount_point(path):
        _write_in_place(path, wanted)
        return
    else:
        _rename_into_place(path, wanted)
    sync_folder(path.parent)


def put_back(path: Path, wanted: Snapshot) -> None:
    """Make the path again what it was, also where there is no room for a second file beside it. Raises OSError."""
    try:
        put(path, wanted)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT) or (wanted.form, take(path).form) != ("file", "file"):
            raise
        _write_in_place(path, wanted)


def holds(path: Path, wanted: Snapshot) -> bool:
    """Tell whether the path has the form and content that `put(path, wanted)` gives it; its mode does not count."""
    now = take(path)
    return (now.form, now.link_target, now.content) == (wanted.form, wanted.link_target, wanted.content)


def is_torn(path: Path, old: Snapshot, new: Snapshot) -> bool:
    """Tell whether a kill hit between the two halves of writing `new` in place of `old`, or the other way round."""
    whole = old.content, new.content
    torn = {one + other[len(one) :] for one, other in (whole, whole[::-1])}.difference(whole)
    return old.form in ("bind-mount", "file") and take(path).content in torn


def is_immutable(path: Path) -> bool:
    """Tell whether the file, or the folder it is in, is `chattr +i` (or `+a`)."""
    for candidate in (path, path.parent):
        with contextlib.suppress(OSError), _opened(candidate, os.O_RDONLY) as descriptor:
            flags = int.from_bytes(fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8))[:4], sys.byteorder)
            if flags & (FS_IMMUTABLE_FL | FS_APPEND_FL):
                return True
    return False


def _rename_into_place(path: Path, wanted: Snapshot) -> None:
    temporary = path.with_name(f".{path.name}.ktpy-{secrets.token_hex(4)}")
    try:
        if wanted.form == "symlink":
            temporary.symlink_to(wanted.link_target or "")
        else:
            _write_new(temporary, wanted)
        os.chown(temporary, wanted.uid, wanted.gid, follow_symlinks=False)
        os.utime(temporary, ns=(wanted.mtime_ns, wanted.mtime_ns), follow_symlinks=False)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_new(path: Path, wanted: Snapshot) -> None:
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        write_all(descriptor, wanted.content)
        os.fchown(descriptor, wanted.uid, wanted.gid)
        os.fchmod(descriptor, wanted.mode)  # after the owner: chown clears bits
        for attribute in wanted.attributes:
            os.setxattr(descriptor, attribute.name, attribute.value)
        os.fsync(descriptor)


def _write_in_place(path: Path, wanted: Snapshot) -> None:
    """Write, or on a full disk leave the file as it was."""
    before = take(path)
    with _opened(path, os.O_WRONLY) as descriptor:
        try:
            _overwrite(descriptor, wanted)
        except OSError:
            _overwrite(descriptor, before)
            raise


def _overwrite(descriptor: int, wanted: Snapshot) -> None:
    """Write, then truncate: a kill between the two leaves what `is_torn` recognises."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, wanted.content)
    os.ftruncate(descriptor, len(wanted.content))
    os.utime(descriptor, ns=(wanted.mtime_ns, wanted.mtime_ns))
    os.fsync(descriptor)


def _is_mount_point(path: Path) -> bool:
    """Find the path among the mount points, field 5 of proc_pid_mountinfo(5); os.path.ismount knows folders only."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return any(_unescape(mount.split(" ")[4]) == str(path) for mount in mounts)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _read_attributes(path: Path) -> tuple[Attribute, ...]:
    try:
        return tuple(Attribute(name, os.getxattr(path, name)) for name in os.listxattr(path))
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:  # not every file system has them
            return ()
        raise


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
