"""The agent's side in a thread: as the process, without one."""

import asyncio
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from ktpy_agent.sync import Session

from ktpy.wire.sync.entries import CONTAINER
from ktpy.wire.sync.folder import Folder
from ktpy.wire.sync.inotify import open_inotify
from ktpy.wire.sync.replica import Replica


class AgentThread:
    """An AgentThread is the channel to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, thread: threading.Thread) -> None:
        self.read, self.write, self.drain = reader.read, writer.write, writer.drain
        self._writer = writer
        self._thread = thread

    @classmethod
    async def start(cls, folder: Path, *, has_inotify: bool = True) -> "AgentThread":
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=_serve, args=(folder, theirs, has_inotify), daemon=True)
        thread.start()
        return cls(*await asyncio.open_connection(sock=ours), thread)

    async def end(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)


def _serve(path: Path, channel: socket.socket, has_inotify: bool) -> None:
    folder, inotify = Folder(os.fsencode(path)), open_inotify() if has_inotify else None
    with channel, suppress(BrokenPipeError, ConnectionResetError):
        Session(replica := Replica(folder, CONTAINER, inotify), channel.fileno(), channel.fileno()).serve()
    if replica.inotify:
        replica.inotify.close()
    folder.close()
