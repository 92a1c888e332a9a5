"""Real programs of the laptop that are at work while things go wrong: psql within a transaction, a shell over SSH, a
WebSocket, and a stream of gRPC. Their servers are a pod's."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.pod_program import serving
from tests.e2e.kit.shop import Addresses
from tests.lab.layout import REPOSITORY

PATIENCE_S = 60.0
POSTGRES, SSH, WEBSOCKET, GRPC = 5432, 22, 8081, 50051
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
"""PostgreSQL does not run as root."""
WITH_RUN_SSHD = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"', "-"]


class Conversation:
    """A Conversation is a client that answers a line with a line, always the same while its connection is."""

    def __init__(self, argv: list[str], line: str) -> None:
        self._argv, self._line = argv, line.encode() + b"\n"
        self._process = subprocess.Popen(
            argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )

    def answer(self) -> str:
        """What the client says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._line)
        assert select.select([self._process.stdout], [], [], PATIENCE_S)[0], f"{self._argv[2]} says nothing"
        return self._process.stdout.readline().decode().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def conversing(laptop: Laptop, netns: Path, pod: Addresses) -> Iterator[dict[str, Conversation]]:
    """All of them, by name, with servers in this network namespace, which is the pod's."""
    directory = Path(tempfile.mkdtemp(prefix="ktpy-conversations-"))
    directory.chmod(0o755)  # PostgreSQL is somebody else
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        stack.enter_context(serving(netns, *_postgres(directory / "data"), until="ready to accept connections"))
        key = _new_key(directory / "key")
        stack.enter_context(serving(netns, *_sshd(_new_key(directory / "host_key"), key), until="Server listening"))
        stack.enter_context(serving(netns, *_python("grpc_program"), "serve", str(GRPC), until="serving"))
        websocket = [*_python("websocket_program"), "serve", str(WEBSOCKET)]
        stack.enter_context(serving(netns, *websocket, until="Running on"))
        clients = {
            "psql": (_psql(pod.ipv4), "SELECT txid_current();"),
            "ssh": (_ssh(pod.ipv6, key), "echo $$"),
            "gRPC": ([*_python("grpc_program"), "converse", f"{pod.ipv4}:{GRPC}"], "still here"),
            "WebSocket": ([*_python("websocket_program"), "talk", f"http://[{pod.ipv6}]:{WEBSOCKET}"], "still here"),
        }
        conversations = {}
        for name, (argv, line) in clients.items():
            conversations[name] = Conversation(["nsenter", f"--net={laptop.netns}", *argv], line)
            stack.callback(conversations[name].end)
        yield conversations


def _python(program: str) -> list[str]:
    return [sys.executable, "-m", f"tests.e2e.kit.{program}"]


def _postgres(data: Path) -> list[str]:
    [programs] = Path("/usr/lib/postgresql").glob("*/bin")
    data.mkdir(mode=0o700)
    shutil.chown(data, "nobody", "nogroup")
    initdb = [*AS_NOBODY, f"{programs}/initdb", "-D", str(data), "-U", "ktpy", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, stdout=subprocess.DEVNULL, check=True)
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host all all all trust\n")
    options = {"listen_addresses": "*", "unix_socket_directories": "", "fsync": "off", "port": str(POSTGRES)}
    return [*AS_NOBODY, f"{programs}/postgres", "-D", str(data), *(f"--{name}={options[name]}" for name in options)]


def _psql(host: str) -> list[str]:
    return ["sh", "-c", f"(echo 'BEGIN;'; exec cat) | psql -XqAt -h {host} -p {POSTGRES} -U ktpy postgres"]


def _new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _sshd(host_key: Path, key: Path) -> list[str]:
    options = {
        "AuthorizedKeysFile": f"{key}.pub",
        "HostKey": str(host_key),
        "PidFile": "none",
        "Port": str(SSH),
        "SetEnv": "SHLVL=1",  # bash then leaves ~/.bashrc alone
        "StrictModes": "no",
        "UsePAM": "no",
    }
    given = [word for name in options for word in ("-o", f"{name}={options[name]}")]
    return [*WITH_RUN_SSHD, "/usr/sbin/sshd", "-D", "-e", "-f", os.devnull, *given]


def _ssh(host: str, key: Path) -> list[str]:
    options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}", "IdentitiesOnly=yes", "LogLevel=ERROR"]
    given = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", "none", "-T", "-i", str(key), "-p", str(SSH), *given, f"root@{host}", "sh"]
