"""A laptop for gateway tests, as a process of its own so that it can be frozen or killed.

It does what the contract asks of one: hello, a beat a second, and a unix socket in the pod for each route while the
local port answers. It tells every line of the agent's.
"""

import asyncio
import contextlib
import json
from multiprocessing.connection import Connection

import asyncssh

PROBE_S = 0.1
BEAT_S = 0.2


def run(tell: "Connection[str, str]", ssh_port: int, identity: str, hello: str, local_port: int) -> None:
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(main(tell, ssh_port, identity, hello, local_port))


async def main(tell: "Connection[str, str]", ssh_port: int, identity: str, hello: str, local_port: int) -> None:
    async with asyncssh.connect(
        "127.0.0.1", ssh_port, username="ktpy", client_keys=[identity], known_hosts=None, config=None
    ) as connection:
        process = await connection.create_process("ktpy-agent route")
        process.stdin.write(hello + "\n")
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(beat(process))  # from the start: the answer waits for HAProxy
            line = await process.stdout.readline()
            answer = json.loads(line)
            tell.send(line)
            if "accepted" not in answer:
                beating.cancel()
                return
            tasks.create_task(show(process, tell))
            for route in answer["accepted"]:
                tasks.create_task(keep_in_place(connection, route["socket"], local_port))


async def beat(process: asyncssh.SSHClientProcess[str]) -> None:
    while True:
        process.stdin.write("{}\n")
        await asyncio.sleep(BEAT_S)


async def show(process: asyncssh.SSHClientProcess[str], tell: "Connection[str, str]") -> None:
    while line := await process.stdout.readline():
        tell.send(line)
    raise ConnectionError("the agent ended the route")


async def keep_in_place(connection: asyncssh.SSHClientConnection, path: str, local_port: int) -> None:
    """The forward is there exactly while the local port answers; a refused dial takes it away at once."""
    listener: asyncssh.SSHListener | None = None

    async def withdraw() -> None:
        nonlocal listener
        if listener is not None:
            gone, listener = listener, None
            gone.close()
            await gone.wait_closed()

    async def serve(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        try:
            local_reader, local_writer = await asyncio.open_connection("127.0.0.1", local_port)
        except OSError:
            await withdraw()  # before its end tells the gateway to try again
            writer.close()
            return
        await asyncio.gather(pump(reader, local_writer), pump(local_reader, writer))

    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", local_port)
        except OSError:
            await withdraw()
        else:
            writer.close()
            if listener is None:
                with contextlib.suppress(asyncssh.ChannelListenError):  # what the last one left is still there
                    listener = await connection.start_unix_server(lambda: serve, path, encoding=None)
        await asyncio.sleep(PROBE_S)


async def pump(
    source: "asyncio.StreamReader | asyncssh.SSHReader[bytes]",
    sink: "asyncio.StreamWriter | asyncssh.SSHWriter[bytes]",
) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError, asyncssh.Error):
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()
