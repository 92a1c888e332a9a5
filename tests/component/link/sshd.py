"""A real OpenSSH server on loopback, and what runs around it."""

import asyncio
import getpass
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from ktpy.link.connection import AgentServer
from ktpy.link.key import ClientKey, make_key
from tests.kit.ports import free_port


@dataclass
class Sshd:
    """A server in a directory of its own, which it and the stand-in agent run in."""

    directory: Path
    key: ClientKey = field(default_factory=make_key)
    policy: Sequence[str] = ()
    """Options as on the command line; they come first."""
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        host_key.write_private_key(str(self.directory / "host_key"))
        (self.directory / "host_key").chmod(0o600)
        host_key.write_public_key(str(self.directory / "host_key.pub"))
        self.port = free_port()
        options = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self.directory / "host_key",
            "AuthorizedKeysFile": self.directory / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "StreamLocalBindUnlink": "yes",
            "SetEnv": "SHLVL=1",  # bash then leaves ~/.bashrc alone: what a user has in there may take seconds
        }
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config), *(f"-o{one}" for one in self.policy)]
        command = sshd
        if os.geteuid() == 0:  # it insists on an empty directory that only root may write to, and /run is not ours
            command = [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"',
                "-",
            ]
            command += sshd
        self.process = subprocess.Popen(command, cwd=self.directory, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "Server listening" in line, line + self.process.stderr.read()

    def install(self, agent: str, options: str = "restrict,port-forwarding") -> None:
        """Let the key in, and run `agent` for whoever comes with it."""
        script = self.directory / "agent.py"
        script.write_text(agent)
        command = f"cd {self.directory} && exec {sys.executable} -I {script}"
        (self.directory / "authorized_keys").write_text(f'{options},command="{command}" {self.key.public_line}\n')

    def signal(self, number: signal.Signals) -> None:
        """To the server and to all that descends from it, parents first."""
        assert self.process is not None
        pids = [self.process.pid]
        for pid in pids:
            with suppress(FileNotFoundError):
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()

    @property
    def place(self) -> AgentServer:
        """Where and as whom to log in."""
        return AgentServer("127.0.0.1", self.port, getpass.getuser())


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def target(serve: Serve) -> AsyncIterator[int]:
    """A service that the tunnel's far side connects to."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 16, backlog=512)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
