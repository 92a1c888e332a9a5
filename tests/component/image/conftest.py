"""A real registry on loopback: distribution, with TLS, and a password or tokens."""

import base64
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.ports import free_port
from tests.kit.waiting import eventually
from tests.lab import binaries
from tests.unit.kube.certificates import KeyPair

PASSWORD = "pass word"
HASH = "$2b$04$dURXL.YDHpdwtG/EU7AgcOAQmmP/pydINLB8oODp4pFvmtnF5eSsO"


@pytest.fixture(scope="session")
def program() -> Path:
    return binaries.registry() / "registry"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, whose user has no login anywhere."""
    for variable in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def log_in(home: Path, registry: str, user: str = "al", password: str = PASSWORD) -> None:
    """As `docker login` leaves it."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


@pytest.fixture
def start(program: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a registry with these settings and return its name; `key_pair` gives it TLS."""
    started: list[subprocess.Popen[bytes]] = []

    def run(key_pair: KeyPair | None = None, **settings: object) -> str:
        port = free_port()
        folder = tmp_path / f"registry-{port}"
        folder.mkdir()
        http: dict[str, object] = {"addr": f"127.0.0.1:{port}", "secret": "s"}
        if key_pair is not None:
            (folder / "tls.crt").write_bytes(key_pair.certificate)
            (folder / "tls.key").write_bytes(key_pair.key)
            http["tls"] = {"certificate": f"{folder}/tls.crt", "key": f"{folder}/tls.key"}
        storage = {"filesystem": {"rootdirectory": f"{folder}/data"}}
        config = {"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": http, **settings}
        (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (folder / "log").open("wb") as log:
            started.append(
                subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT)
            )
        assert eventually(lambda: _listens(port)), (folder / "log").read_text()
        return f"127.0.0.1:{port}"

    yield run
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def with_password(start: Callable[..., str], key_pair: KeyPair, tmp_path: Path) -> str:
    """The name of a registry with TLS, where al has a password."""
    (tmp_path / "htpasswd").write_text(f"al:{HASH}\n")
    return start(key_pair, auth={"htpasswd": {"realm": "r", "path": str(tmp_path / "htpasswd")}})


@pytest.fixture
def authority(key_pair: KeyPair, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(key_pair.certificate)
    return path
