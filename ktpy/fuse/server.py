"""A claim's file system: every request of the kernel's is done in the pod, at once; nothing is kept back here."""

import asyncio
import errno
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, Final, NamedTuple

from ktpy.fuse import kernel
from ktpy.fuse.kernel import Asked, Opcode
from ktpy.fuse.nodes import Node, Nodes, identity
from ktpy.fuse.volume_channel import Answer, Reopen, VolumeChannel
from ktpy.wire.files import is_inside
from ktpy.wire.volume import Changes, Space, Status

INTERRUPTED_WAIT_S: Final = 10.0
"""How long a program that a signal wants still waits for an answer of a pod that is reached."""
_BATCH: Final = 16
"""So many requests are read before others have their turn."""
_GONE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_LASTING_FLAGS: Final = os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC
"""What of a file's flags counts when it is opened again."""
_EXCHANGE: Final = 2  # linux/fs.h
logger = logging.getLogger(__name__)


class Listing(NamedTuple):
    """A Listing is what was in a folder."""

    entries: list[tuple[str, Status]]
    read_s: float
    change: int
    """The number of the last change that it shows."""


class OpenFile:
    """An OpenFile is a file that programs have open here, and its number in the pod."""

    def __init__(self, node: Node, flags: int, number: int, epoch: int) -> None:
        self.node, self.flags = node, flags & _LASTING_FLAGS
        self.number, self.epoch = number, epoch
        self.reopening = asyncio.Lock()


class FuseServer:
    """A FuseServer answers the kernel on a descriptor of /dev/fuse, until it is closed: that ends the mount."""

    def __init__(self, descriptor: int, volume: VolumeChannel, owner: tuple[int, int]) -> None:
        """All files belong to the owner, as far as programs see: what they may is up to the pod."""
        self._descriptor, self._volume, self._owner = descriptor, volume, owner
        self._nodes = Nodes()
        self._files: dict[int, OpenFile] = {}
        self._folders: dict[int, Listing] = {}
        self._change = 0
        """Counts the changes that programs here have made."""
        self._handle = 0
        self._buffer = bytearray(kernel.READ_BYTES)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    async def aclose(self) -> None:
        """Answer no more: what programs do there fails with ENOTCONN."""
        self._loop.remove_reader(self._descriptor)
        for task in (tasks := [*self._tasks.values(), *self._closing]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.close(self._descriptor)

    # --- the device

    def _read(self) -> None:
        for _ in range(_BATCH):
            try:
                size = os.readv(self._descriptor, [self._buffer])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # the request was taken back
                    continue
                self._loop.remove_reader(self._descriptor)  # it is mounted no more
                return
            self._take(kernel.asked(memoryview(bytes(memoryview(self._buffer)[:size]))))

    def _take(self, request: Asked) -> None:
        match request.opcode:
            case Opcode.INIT:
                greeting = kernel.greeting(request)
                self._write(kernel.answer(request.number, greeting or b"", 0 if greeting else errno.EPROTO))
            case Opcode.FORGET | Opcode.BATCH_FORGET:
                for node, lookups in kernel.forgets(request):
                    self._nodes.forget(node, lookups)
            case Opcode.INTERRUPT:
                wait_s = INTERRUPTED_WAIT_S if self._volume.is_up else 0
                self._loop.call_later(wait_s, self._let_go, request.fields("Q")[0])
            case Opcode.DESTROY:
                pass
            case _ if (perform := self._OPERATIONS.get(request.opcode)) is None:
                self._write(kernel.answer(request.number, error=errno.ENOSYS))
            case _:
                self._change += request.opcode in kernel.CHANGING
                task = self._loop.create_task(self._perform(request, perform))
                self._tasks[request.number] = task
                task.add_done_callback(lambda _: self._tasks.pop(request.number, None))

    def _let_go(self, number: int) -> None:
        """Let a program go that a signal wants."""
        if (task := self._tasks.get(number)) is not None:
            task.cancel()
            self._write(kernel.answer(number, error=errno.EINTR))

    async def _perform(self, request: Asked, perform: "_Operation") -> None:
        try:
            answer = kernel.answer(request.number, await perform(self, request))
        except OSError as error:
            answer = kernel.answer(request.number, error=error.errno or errno.EIO)
        except Exception:  # no program may wait for ever
            logger.debug("request %d for a claim has failed", request.opcode, exc_info=True)
            answer = kernel.answer(request.number, error=errno.EIO)
        self._write(answer)

    def _write(self, message: bytes) -> None:
        with suppress(OSError):  # who asked is gone, or all of it is
            os.write(self._descriptor, message)

    # --- the pod

    async def _ask_about(self, node: Node, operation: str, *arguments: object, name: str = "") -> Answer:
        """Ask about a node's path, or a name in it, and anew where that has become another meanwhile."""
        while True:
            path = node.path(name)
            try:
                return await self._volume.ask(operation, path, *arguments)
            except OSError as error:
                if error.errno not in _GONE or node.path(name) == path:
                    raise

    async def _ask_of(self, file: OpenFile, operation: str, *arguments: object, **options: Any) -> Answer:
        """Ask of an open file, which is opened again where that was over another channel."""
        while True:
            with suppress(Reopen):
                return await self._volume.ask(operation, file.number, *arguments, epoch=file.epoch, **options)
            async with file.reopening:
                if file.epoch != self._volume.epoch:
                    (number, told), _, epoch = await self._ask_about(file.node, "open", file.flags, None)
                    self._same(file.node, Status(*told))
                    file.number, file.epoch = number, epoch

    async def _status(self, node: Node, handle: int | None) -> Status:
        """Return the status of a node: of the file itself where it is open, else of what its name leads to.

        Raises OSError, ESTALE for another file: then the kernel looks the name up anew.
        """
        file = self._file_of(node, handle)
        if file is not None:
            return Status(*(await self._ask_of(file, "stat-open")).results[0])
        return self._same(node, Status(*(await self._ask_about(node, "stat")).results[0]))

    def _file_of(self, node: Node, handle: int | None) -> OpenFile | None:
        number = handle if handle is not None else next(iter(node.handles), None)
        return None if number is None else self._files.get(number)

    @staticmethod
    def _same(node: Node, status: Status) -> Status:
        if node.number != kernel.ROOT and identity(status) != node.inode:
            raise OSError(errno.ESTALE, "another file has its name")
        return status

    # --- names

    def _entry(self, parent: Node, name: str, told: Any) -> bytes:
        status = Status(*told)
        return kernel.entry(self._nodes.found(parent, name, status).number, status, self._owner)

    async def _lookup(self, request: Asked) -> bytes:
        parent, [name] = self._nodes[request.node], request.names()
        try:
            answer = await self._ask_about(parent, "stat", name=name)
        except FileNotFoundError:
            self._nodes.removed(parent, name)
            raise
        return self._entry(parent, name, answer.results[0])

    async def _make(self, request: Asked, name: str, operation: str, *arguments: object) -> bytes:
        parent = self._nodes[request.node]
        answer = await self._volume.ask(operation, parent.path(name), *arguments, is_once=True)
        return self._entry(parent, name, answer.results[0])

    async def _mkdir(self, request: Asked) -> bytes:
        mode, _ = request.fields("II")
        return await self._make(request, request.names("II")[0], "make", stat.S_IFDIR | mode)

    async def _mknod(self, request: Asked) -> bytes:
        return await self._make(request, request.names("IIII")[0], "make", request.fields("I")[0])

    async def _symlink(self, request: Asked) -> bytes:
        name, target = request.names()
        return await self._make(request, name, "symlink", target)

    async def _link(self, request: Asked) -> bytes:
        old, parent, [name] = self._nodes[request.fields("Q")[0]], self._nodes[request.node], request.names("Q")
        answer = await self._volume.ask("link", old.path(), parent.path(name), is_once=True)
        return self._entry(parent, name, answer.results[0])

    async def _remove(self, request: Asked) -> bytes:
        parent, [name] = self._nodes[request.node], request.names()
        operation = "rmdir" if request.opcode == Opcode.RMDIR else "unlink"
        await self._volume.ask(operation, parent.path(name), is_once=True)
        self._nodes.removed(parent, name)
        return b""

    async def _rename(self, request: Asked) -> bytes:
        layout = "QII" if request.opcode == Opcode.RENAME2 else "Q"
        new_number, flags, *_ = *request.fields(layout), 0
        parent, new_parent = self._nodes[request.node], self._nodes[new_number]
        name, new_name = request.names(layout)
        await self._volume.ask("rename", parent.path(name), new_parent.path(new_name), flags, is_once=True)
        self._nodes.renamed(parent, name, new_parent, new_name, exchanged=flags == _EXCHANGE)
        return b""

    async def _readlink(self, request: Asked) -> bytes:
        answer = await self._ask_about(self._nodes[request.node], "readlink")
        return str(answer.results[0]).encode(errors="surrogateescape")

    # --- attributes

    async def _getattr(self, request: Asked) -> bytes:
        flags, _, handle = request.fields("IIQ")
        node = self._nodes[request.node]
        status = await self._status(node, handle if flags & kernel.GETATTR_FH else None)
        node.seen = status.size, status.modified_ns
        return kernel.valid(status, self._owner)

    async def _setattr(self, request: Asked) -> bytes:
        node = self._nodes[request.node]
        try:
            wanted, handle = kernel.changes(request, self._owner, time.time_ns())
        except PermissionError:
            raise OSError(errno.EPERM, "all files belong to the user") from None
        if wanted == Changes():
            return kernel.valid(await self._status(node, handle), self._owner)
        if (file := self._file_of(node, handle)) is not None and file.flags & os.O_ACCMODE != os.O_RDONLY:
            answer = await self._ask_of(file, "change-open", wanted)
        else:
            answer = await self._ask_about(node, "change", wanted)
        return kernel.valid(Status(*answer.results[0]), self._owner)

    async def _access(self, request: Asked) -> bytes:
        await self._ask_about(self._nodes[request.node], "access", request.fields("I")[0])
        return b""

    async def _statfs(self, request: Asked) -> bytes:  # noqa: ARG002 - of all nodes alike
        return kernel.space(Space(*(await self._volume.ask("space")).results[0]))

    # --- files

    def _opened(self, node: Node, flags: int, number: int, epoch: int) -> bytes:
        self._handle += 1
        self._files[self._handle] = node.handles[self._handle] = OpenFile(node, flags, number, epoch)
        return kernel.opened(self._handle, kernel.DIRECT_IO if flags & os.O_APPEND else 0)

    async def _open(self, request: Asked) -> bytes:
        node, flags = self._nodes[request.node], request.fields("I")[0]
        (number, told), _, epoch = await self._ask_about(node, "open", flags & ~os.O_EXCL, None)
        status = Status(*told)
        if identity(status) != node.inode:
            self._close(number, epoch)
            raise OSError(errno.ESTALE, "another file has its name")
        if node.seen != (seen := (status.size, status.modified_ns)):
            node.seen = seen
            self._write(kernel.forgotten(node.number))  # so who reads it now gets all of it
        return self._opened(node, flags, number, epoch)

    async def _create(self, request: Asked) -> bytes:
        parent, (flags, mode, *_), [name] = self._nodes[request.node], request.fields("4I"), request.names("4I")
        (number, told), _, epoch = await self._volume.ask("open", parent.path(name), flags, mode, is_once=True)
        entry = self._entry(parent, name, told)
        return entry + self._opened(parent.children[name], flags, number, epoch)

    async def _read_file(self, request: Asked) -> bytes:
        handle, offset, size = request.fields("QQI")
        return (await self._ask_of(self._open_file(handle), "read", offset, size)).content

    async def _write_file(self, request: Asked) -> bytes:
        handle, offset, size = request.fields("QQI")
        file, content = self._open_file(handle), bytes(request.body[40 : 40 + size])
        is_once = bool(file.flags & os.O_APPEND)
        answer = await self._ask_of(file, "write", offset, data=content, is_once=is_once)
        return kernel.written(answer.results[0])

    async def _fsync(self, request: Asked) -> bytes:
        await self._ask_of(self._open_file(request.fields("Q")[0]), "sync")
        return b""

    async def _flush(self, request: Asked) -> bytes:  # noqa: ARG002 - nothing is kept back
        return b""

    async def _release(self, request: Asked) -> bytes:
        file = self._files.pop(handle := request.fields("Q")[0])
        file.node.handles.pop(handle, None)
        self._close(file.number, file.epoch)
        return b""

    def _close(self, number: int, epoch: int) -> None:
        """Close a file in the pod; nobody waits for that."""

        async def close() -> None:
            with suppress(OSError, Reopen):
                await self._volume.ask("close", number, is_once=True, epoch=epoch)

        task = self._loop.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _open_file(self, handle: int) -> OpenFile:
        try:
            return self._files[handle]
        except KeyError:
            raise OSError(errno.EBADF, "it is not open") from None

    # --- folders

    async def _opendir(self, request: Asked) -> bytes:  # noqa: ARG002 - it is read later
        self._handle += 1
        return kernel.opened(self._handle)

    async def _readdir(self, request: Asked) -> bytes:
        handle, offset, size = request.fields("QQI")
        node, with_entries = self._nodes[request.node], request.opcode == Opcode.READDIRPLUS
        if offset == 0 or handle not in self._folders:
            self._folders[handle] = await self._list(node)
        listing, packed = self._folders[handle], bytearray()
        is_recent = listing.change == self._change and self._loop.time() - listing.read_s < kernel.CACHED_S
        for place, (name, status) in enumerate(listing.entries[offset:], offset + 1):
            one = kernel.directory_entry(name, status.inode, status.mode, place)
            if len(packed) + len(one) + (kernel.ENTRY_BYTES if with_entries else 0) > size:
                break
            if with_entries:
                is_told = is_recent and name not in (".", "..")
                packed += self._entry(node, name, status) if is_told else bytes(kernel.ENTRY_BYTES)
            packed += one
        return bytes(packed)

    async def _list(self, node: Node) -> Listing:
        change, read_s = self._change, self._loop.time()
        [told], *_ = await self._ask_about(node, "entries")
        itself = Status(node.inode[0] or 1, stat.S_IFDIR, 0, 0, 0, 0, 0, 0)
        found = [(str(name), Status(*status)) for name, status in told if name and "/" not in name and is_inside(name)]
        return Listing([(".", itself), ("..", itself), *found], read_s, change)

    async def _releasedir(self, request: Asked) -> bytes:
        self._folders.pop(request.fields("Q")[0], None)
        return b""

    _OPERATIONS: ClassVar[dict[int, "_Operation"]] = {
        Opcode.LOOKUP: _lookup,
        Opcode.GETATTR: _getattr,
        Opcode.SETATTR: _setattr,
        Opcode.READLINK: _readlink,
        Opcode.SYMLINK: _symlink,
        Opcode.MKNOD: _mknod,
        Opcode.MKDIR: _mkdir,
        Opcode.UNLINK: _remove,
        Opcode.RMDIR: _remove,
        Opcode.RENAME: _rename,
        Opcode.RENAME2: _rename,
        Opcode.LINK: _link,
        Opcode.OPEN: _open,
        Opcode.READ: _read_file,
        Opcode.WRITE: _write_file,
        Opcode.STATFS: _statfs,
        Opcode.RELEASE: _release,
        Opcode.FSYNC: _fsync,
        Opcode.FLUSH: _flush,
        Opcode.OPENDIR: _opendir,
        Opcode.READDIR: _readdir,
        Opcode.READDIRPLUS: _readdir,
        Opcode.RELEASEDIR: _releasedir,
        Opcode.ACCESS: _access,
        Opcode.CREATE: _create,
    }


_Operation = Callable[[FuseServer, Asked], Awaitable[bytes]]
