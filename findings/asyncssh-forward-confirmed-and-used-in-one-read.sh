#!/usr/bin/env bash
# asyncssh 2.24.1 refuses a connection to a socket that it has just had forwarded, when the server's word that the
# forwarding stands and the connection (CHANNEL_OPEN forwarded-streamlocal@openssh.com) arrive in one read.
# The listener is noted by the task that awaits the confirmation, and that task runs after the whole read has been
# taken apart. Whoever connected sees an end of stream without a byte. OpenSSH's own client notes a forwarding before it
# asks for it, so it is not affected. Seen where something on the server connects as soon as the socket exists.
# A connection that comes a moment later is served. ktpy's tests wait until the laptop knows of the socket; HAProxy sends
# an idempotent request again.
# Output seen (Python 3.11, asyncssh 2.24.1): "at once: b''" and "later: b'hello'".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncssh==2.24.1 cryptography==50.0.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import asyncssh


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

    def unix_server_requested(self, listen_path):
        return True


async def in_bundles(reader, writer):
    """Pass bytes on in bundles, 0.2 s apart, as a busy link does."""
    pending = bytearray()

    async def send():
        while not writer.is_closing():
            await asyncio.sleep(0.2)
            if pending:
                writer.write(bytes(pending))
                pending.clear()

    sending = asyncio.create_task(send())
    while data := await reader.read(65536):
        pending.extend(data)
    sending.cancel()


async def at_once(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)


async def greet(reader, writer):
    writer.write(b"hello")
    writer.close()


async def ask():
    reader, writer = await asyncio.open_unix_connection("forwarded.sock")
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def ask_as_soon_as_possible():
    for _ in range(2000):
        try:
            return await ask()
        except (FileNotFoundError, ConnectionRefusedError):
            await asyncio.sleep(0.001)
    raise SystemExit("the socket never came")


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Server)
    port = server.sockets[0].getsockname()[1]
    passing = []

    async def link(reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        passing.append(asyncio.create_task(in_bundles(there_reader, writer)))
        passing.append(asyncio.create_task(at_once(reader, there_writer)))

    busy = await asyncio.start_server(link, "127.0.0.1", 0)
    local = await asyncio.start_server(greet, "127.0.0.1", 0)
    local_port = local.sockets[0].getsockname()[1]
    client = await asyncssh.connect(
        "127.0.0.1", busy.sockets[0].getsockname()[1], known_hosts=None, username="a", client_keys=None, config=None
    )
    first = asyncio.create_task(ask_as_soon_as_possible())
    await client.forward_remote_path_to_port("forwarded.sock", "127.0.0.1", local_port)
    answers = await first, await ask()
    print(f"asyncssh {asyncssh.__version__}; at once: {answers[0]}; later: {answers[1]}")
    client.abort()
    if answers != (b"", b"hello"):
        raise SystemExit("this has changed: both were to be b'hello', the first of them was b''")


asyncio.run(asyncio.wait_for(main(), 60))
PYTHON
