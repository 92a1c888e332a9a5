"""A user's login at a registry, where `docker login` and `podman login` leave it, or a credential helper keeps it."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ktpy.errors import RegistryRefused
from ktpy.frozen import dataclass
from ktpy.image.name import ImageName

HELPER_TIMEOUT_S: Final = 60.0
"""A helper may ask the user, by a window of its own."""
HUB: Final = "docker.io"
_HUB_KEY: Final = "https://index.docker.io/v1/"
_IDENTITY: Final = "<token>"
"""The user name by which a helper says that the secret is a token to get others by."""


@dataclass(frozen=True, slots=True)
class Login:
    """A Login is a user's name and password, or a token in the password's place. `source` tells where it is from."""

    user: str
    secret: str
    source: str

    @property
    def is_identity_token(self) -> bool:
        return self.user == _IDENTITY

    @property
    def basic(self) -> str:
        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode()}"

    def __repr__(self) -> str:
        return f"Login({self.user} of {self.source})"


def find(name: ImageName) -> Login | None:
    """Return the login for an image's registry. Raises RegistryRefused where a file or a helper is broken."""
    for path in _files():
        try:
            settings = json.loads(path.read_text())
            known = {_host(key): value for key, value in (settings.get("auths") or {}).items()}
            helpers = {_host(key): value for key, value in (settings.get("credHelpers") or {}).items()}
            if login := _of_file(path, name, known, helpers, settings.get("credsStore")):
                return login
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise RegistryRefused(f"{path}, which has logins at registries, cannot be read: {error}.") from None
    return None


def _files() -> Iterator[Path]:
    """Yield where Docker has its file, then where Podman has."""
    home, environment = Path.home(), os.environ
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if file := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(file)
    if folder := environment.get("XDG_RUNTIME_DIR"):
        yield Path(folder) / "containers/auth.json"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"


def _of_file(
    path: Path, name: ImageName, known: Mapping[str, Any], helpers: Mapping[str, str], store: str | None
) -> Login | None:
    if (helper := helpers.get(name.registry) or store) and (login := _ask(helper, name.registry)):
        return login
    parts = [name.registry, *name.repository.split("/")]
    for length in range(len(parts), 0, -1):  # Podman's may be for some repositories only
        entry = known.get("/".join(parts[:length])) or {}
        user, _, password = base64.b64decode(entry.get("auth") or "", validate=True).decode().partition(":")
        if token := entry.get("identitytoken"):
            return Login(_IDENTITY, token, str(path))
        if user:
            return Login(user, password.rstrip("\0"), str(path))
    return None


def _host(key: str) -> str:
    """Return a registry as an image's name has it: it may stand there as an old URL."""
    host = re.sub(r"^https?://", "", key)
    host = re.sub(r"/(v[12]/?)?$", "", host)
    return HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _ask(helper: str, registry: str) -> Login | None:
    """Ask a credential helper by the protocol of Docker's. It knows no login where it says so."""
    if not re.fullmatch(r"[\w.-]+", helper):
        raise RegistryRefused(f"{helper!r}, which Docker's configuration names, is no credential helper.")
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"],
            input=(_HUB_KEY if registry == HUB else registry).encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or f"no answer within {HELPER_TIMEOUT_S:.0f} s"
        raise RegistryRefused(f"The credential helper {command} cannot be asked: {why}.") from None
    words = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        if "not found" in words:
            return None
        said = (words or done.stderr.decode(errors="replace").strip()).rpartition("\n")[2]
        raise RegistryRefused(f"The credential helper {command} failed with exit code {done.returncode}: {said}.")
    try:
        answer = json.loads(words)
        return Login(answer["Username"], answer["Secret"], command)
    except (ValueError, KeyError, TypeError):
        raise RegistryRefused(f"The credential helper {command} answered no login.") from None
