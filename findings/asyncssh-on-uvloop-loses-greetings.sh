#!/usr/bin/env bash
# asyncssh 2.24.1 on uvloop 0.23.0: `forward_remote_port` loses what a server says first (SMTP, MySQL, FTP, SSH), so that
# its client waits for ever. The connection to the server is made before the channel's end has its transport; uvloop
# delivers what comes in between, and asyncssh's forwarder drops what it gets before its peer has a transport. asyncio's
# own loop delivers later, and nothing is lost there. OpenSSH's `ssh -R` loses nothing either.
# ktpy's reverse ports hold what comes early (ktpy/link/splice.py).
# Output seen (Python 3.11): "asyncio 20 of 20, uvloop 11 of 20 greetings"; with uvloop it varies.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncssh==2.24.1 cryptography==50.0.2 uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import socket
import threading

import asyncssh
import uvloop

GREETING, ROUNDS = b"220 here\r\n", 20


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

    def server_requested(self, listen_host, listen_port):
        return True


def greet(listener, accepted):
    while True:
        connection, _ = listener.accept()
        connection.sendall(GREETING)
        accepted.append(connection)


async def heard(greeter_port):
    """Return how many of ROUNDS connections through a forwarded port hear the greeting within a second."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    count = 0
    async with (
        asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[key]) as sshd,
        asyncssh.connect("127.0.0.1", sshd.get_port(), known_hosts=None, username="x", config=None) as client,
    ):
        forward = await client.forward_remote_port("127.0.0.1", 0, "127.0.0.1", greeter_port)
        for _ in range(ROUNDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.get_port())
            try:
                count += await asyncio.wait_for(reader.readline(), 1) == GREETING
            except TimeoutError:
                pass
            writer.close()
    return count


logging.disable()
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=greet, args=(listener, []), daemon=True).start()
counts = []
for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
    with asyncio.Runner(loop_factory=factory) as runner:
        counts.append(runner.run(heard(listener.getsockname()[1])))
print(f"asyncio {counts[0]} of {ROUNDS}, uvloop {counts[1]} of {ROUNDS} greetings")
assert counts[0] == ROUNDS > counts[1], "the behaviour has changed"
PYTHON
