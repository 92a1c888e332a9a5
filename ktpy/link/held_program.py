"""A program in a dev container on this terminal, which goes on over the next link when one is lost."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Final

from ktpy.aio.uninterrupted import uninterrupted
from ktpy.errors import LinkLost
from ktpy.link.connection import AgentConnection
from ktpy.link.session import link_lost
from ktpy.link.ssh_library import asyncssh
from ktpy.link.terminal import RemoteProgram, as_terminal, enough, next_of, terminal_kind, typed_to, write_whole
from ktpy.link.uplink import Uplink
from ktpy.wire import held
from ktpy.wire.dev import INTERRUPT, Exec
from ktpy.wire.held import Account, Frame
from ktpy.wire.session import AgentHello

TOLD_AFTER_S: Final = 1.0
"""A link that is back sooner is not told of."""
LEAVE_S: Final = 1.0
"""How long the agent may take to let the channel go."""
GONE: Final = (
    "The program in the dev container has ended while the link was lost: nobody came back to it for "
    f"{held.PATIENCE_S / 60:g} minutes, or the container was started again."
)

_Process = asyncssh.SSHClientProcess[bytes]


class HeldProgram:
    """A HeldProgram has this process's standard input, output and error, as a RemoteProgram has them.

    The agent holds the program: no link has to stand all the time.
    """

    def __init__(self, asked: Exec, tell: Callable[[str], None], *, outlives_run: bool = False) -> None:
        """`asked` has a key of its own. `tell` hears when the link is lost, and back.

        When `run` is cancelled the program gets SIGHUP, unless it outlives that: then it goes on until its pod ends.
        """
        self._asked, self._tell, self._outlives_run = asked, tell, outlives_run
        self._account, self._room = Account(), asyncio.Condition()
        self._process: _Process | None = None
        self._is_begun = False
        self._unheld: RemoteProgram | None = None

    def interrupt(self) -> bool:
        """Have SIGINT sent to it; False while it does not run, or cannot be reached."""
        if self._unheld is not None:
            return self._unheld.interrupt()
        if self._process is None or not self._account.is_resumed:
            return False
        self._send(Frame(held.INTERRUPT).encoded())
        return True

    async def run(self, uplink: Uplink[AgentHello]) -> int:
        """Run it; return its exit code, as a shell has it; 1 where nobody reads what it says any more, which ends it.

        Raises LinkLost when it has ended while there was no link, ConnectionAbortedError when there will be none,
        KtpyError where its output cannot be written.
        """
        connection = await uplink.connection()
        if not connection.hello.holds:
            self._unheld = RemoteProgram(self._asked.command(), INTERRUPT + self._asked.key)
            return await self._unheld.run(connection.ssh)
        kind = terminal_kind()
        asked = self._asked._replace(is_held=True, terminal=kind)
        with typed_to(self._type):
            while True:
                if kind:
                    asked = asked._replace(size=os.get_terminal_size(0))
                code = await self._over(connection, asked._replace(is_again=self._is_begun))
                if code is not None:
                    return code
                connection = await self._next_link(uplink)

    async def _next_link(self, uplink: Uplink[AgentHello]) -> AgentConnection[AgentHello]:
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_AFTER_S):
                return await uplink.connection()
        self._tell("The link is lost; the program runs on, and waits for ktpy, which dials again. Ctrl-C ends ktpy.")
        connection = await uplink.connection()
        self._tell("The link is back.")
        return connection

    async def _over(self, connection: AgentConnection[AgentHello], asked: Exec) -> int | None:
        """Have the program over this link; return its exit code, None when the link is lost before. Raises as `run`."""
        try:
            process = await connection.ssh.create_process(asked.command(), encoding=None)
        except (asyncssh.Error, OSError) as exc:
            await self._lost(connection, link_lost(exc))
            return None
        self._process = process
        self._send(self._account.begin())
        hangs_up = True
        try:
            with as_terminal(self._resize) if asked.terminal else nullcontext():
                code = await self._listen(process)
        except asyncio.CancelledError:
            hangs_up = not self._outlives_run
            raise
        finally:
            await uninterrupted(self._leave, process, hangs_up)
        if code is None:
            said = (await next_of(process.stderr)).decode(errors="replace").strip()
            await self._lost(connection, LinkLost(f"The agent gave the program's channel up: {said or 'no word'}."))
        return code

    async def _lost(self, connection: AgentConnection[AgentHello], otherwise: LinkLost) -> None:
        """Return when the link is lost, raise `otherwise` where it stands."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await connection.wait_closed()
        except TimeoutError:
            raise otherwise from None

    async def _listen(self, process: _Process) -> int | None:
        code: int | None = None
        while code is None and (data := await next_of(process.stdout)):
            try:
                for frame in self._account.hear(data):
                    code = await self._take(frame)
            except OSError as exc:
                return enough(exc)
            except ValueError as exc:
                raise LinkLost(f"The agent in the dev container does not keep to the protocol: {exc}.") from exc
            self._send(self._account.acknowledgement())
            async with self._room:
                self._room.notify_all()
        return code

    async def _take(self, frame: Frame) -> int | None:
        match frame.kind:
            case held.RESUME:
                self._resume()
            case held.OUTPUT | held.ERRORS:
                shown = sys.stdout if frame.kind == held.OUTPUT else sys.stderr
                await asyncio.to_thread(write_whole, shown.fileno(), frame.content)
            case held.EXIT:
                return frame.content[0]
            case held.GONE:
                raise LinkLost(GONE)
        return None

    def _resume(self) -> None:
        self._send(self._account.rest())
        if self._is_begun and terminal_kind():  # else it was started in this size
            self._resize()
        self._is_begun = True
        self._account.missed_bytes, missed = 0, self._account.missed_bytes
        if missed:
            self._tell(f"{missed} bytes of what was printed meanwhile were not kept.")

    def _resize(self) -> None:
        self._send(self._account.say(held.SIZE, held.size_content(*os.get_terminal_size(0))))

    async def _type(self, data: bytes) -> None:
        """Send what is typed, once the agent has taken most of what was before."""
        async with self._room:
            await self._room.wait_for(lambda: not self._account.is_full)
        self._send(self._account.say(held.INPUT, data))

    def _send(self, data: bytes) -> None:
        if data and self._process is not None:
            with suppress(asyncssh.Error, OSError):  # the link is lost, and the next channel says it again
                self._process.stdin.write(data)

    async def _leave(self, process: _Process, hangs_up: bool) -> None:
        """Want no more of a channel; the agent ends it where it stands."""
        if hangs_up:
            self._send(Frame(held.HANG_UP).encoded())
        self._process, self._account.is_resumed = None, False
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S if hangs_up else 0):
                await process.wait_closed()
        process.close()
