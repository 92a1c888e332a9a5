"""Credentials made of the `user` section of a kubeconfig, which stay fresh.

Token files are re-read, plugins are asked again before their answer expires (`exec_plugin.py`), and certificates go
from memory into TLS, so that on Linux there is no temporary file that a SIGKILL would leave behind.
"""

import asyncio
import base64
import logging
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ktpy.errors import ContextUnknown, KtpyError, KubeconfigMissing, Unauthorized
from ktpy.kube import exec_plugin
from ktpy.kube.objects import Json

TOKEN_FILE_PERIOD_S = 60.0
"""The period of client-go. A service account token stays valid for longer than this after its rotation."""
PLUGIN_EARLY_S = 30.0
"""A plugin is asked again this long before its answer expires."""
PLUGIN_AGAIN_S = 5.0
"""A plugin that fails, or whose answer is not accepted, is asked again after this: it may ask a person to log in."""
PLUGIN_PERIOD_S = 10.0
"""A plugin is not asked more often than this, whatever expiry it states."""

KeyPair = tuple[bytes, bytes]
_IDENTITY = {"tokenFile", "token", "username", "auth-provider", "exec"}
logger = logging.getLogger(__name__)


class Credentials:
    """Credentials go with each request. Here they are an Authorization header that never changes, or none."""

    def __init__(self, header: str | None = None) -> None:
        self._header = header

    async def header(self) -> str | None:
        """Return a fresh Authorization header."""
        return self._header

    async def renew(self) -> bool:
        """Get new credentials after a 401; False when there is no way to get others."""
        return False

    @property
    def key_pair(self) -> KeyPair | None:
        """The client certificate and its key in PEM, if these credentials bring one."""
        return None


class TokenFile(Credentials):
    """TokenFile is a bearer token in a file that somebody else keeps fresh, as the kubelet does in a pod."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._token, self._read_at = "", float("-inf")

    async def header(self) -> str | None:
        if self._clock() - self._read_at >= TOKEN_FILE_PERIOD_S:
            self._read()
        return f"Bearer {self._token}"

    async def renew(self) -> bool:
        before = self._token
        self._read()
        return self._token != before

    def _read(self) -> None:
        try:
            token = self._path.read_text().strip()
        except (OSError, ValueError) as exc:
            raise Unauthorized(f"The token file {self._path} cannot be read: {exc}.") from exc
        if not token:
            raise Unauthorized(f"The token file {self._path} is empty.")
        self._token, self._read_at = token, self._clock()


class ExecPlugin(Credentials):
    """ExecPlugin keeps what a credential plugin has answered for as long as that is valid."""

    def __init__(self, plugin: Json, cluster: Json, clock: Callable[[], float] = time.time) -> None:
        self._plugin, self._cluster, self._clock = plugin, cluster, clock
        self._credential: exec_plugin.ExecCredential | None = None
        self._ask_again_at = float("-inf")
        self._asking = asyncio.Lock()
        self._renewed_at = self._failed_at = float("-inf")
        self._failure: KtpyError | None = None

    @property
    def key_pair(self) -> KeyPair | None:
        credential = self._credential
        if credential is None or not credential.certificate or not credential.key:
            return None
        return credential.certificate.encode(), credential.key.encode()

    async def header(self) -> str | None:
        async with self._asking:
            if self._clock() >= self._ask_again_at:
                await self._ask()
        assert self._credential is not None  # noqa: S101 - _ask raises or sets it
        return f"Bearer {self._credential.token}" if self._credential.token else None

    async def renew(self) -> bool:
        before = self._credential
        async with self._asking:
            # Another request may have just asked. What a plugin kept may be old at first, but not again at once.
            if self._credential is before and self._clock() - self._renewed_at >= PLUGIN_AGAIN_S:
                await self._ask()
                self._renewed_at = self._clock()
        return True

    async def _ask(self) -> None:
        if self._failure and self._clock() - self._failed_at < PLUGIN_AGAIN_S:
            raise self._failure.with_hint(self._failure.hint)  # a copy: each has its own traceback
        try:
            self._credential = await exec_plugin.run(self._plugin, self._cluster)
        except KtpyError as failure:
            self._failure, self._failed_at = failure, self._clock()
            raise
        self._failure = None
        expires_at = self._credential.expires_at
        self._ask_again_at = (
            float("inf") if expires_at is None else max(expires_at - PLUGIN_EARLY_S, self._clock() + PLUGIN_PERIOD_S)
        )


class KubeconfigUser(Credentials):
    """A KubeconfigUser is what the kubeconfig says of a user. After a 401 it is read again: a login writes it."""

    def __init__(self, user: Json, cluster: Json, read_again: Callable[[], Json]) -> None:
        """`read_again` returns the user's section as it is now. Raises KubeconfigMissing, ContextUnknown."""
        self._cluster, self._read_again = cluster, read_again
        self._known = (user, key_pair_of(user))
        self._inner = from_user(user, cluster)
        self._renewed_pair: KeyPair | None = None

    async def header(self) -> str | None:
        return await self._inner.header()

    async def renew(self) -> bool:
        if await self._inner.renew():
            return True
        try:
            user = self._read_again()
            known = (user, key_pair_of(user))
        except (KubeconfigMissing, ContextUnknown) as error:  # somebody may be writing it
            logger.info("the kubeconfig cannot be read again: %s", error)
            return False
        if known == self._known:
            return False
        self._known, self._inner, self._renewed_pair = known, from_user(user, self._cluster), known[1]
        return True

    @property
    def key_pair(self) -> KeyPair | None:
        return self._inner.key_pair or self._renewed_pair


def from_user(user: Json, cluster: Json) -> Credentials:
    """Choose the credentials of a kubeconfig user in client-go's order. Files are read with the first request.

    None go over plain HTTP, and no plugin is run for it, as with kubectl.
    """
    if str(cluster.get("server")).startswith("http://") and _IDENTITY & user.keys():
        logger.warning("no credentials are sent to %s: it speaks plain HTTP, which anybody may read", cluster["server"])
        return Credentials()
    if user.get("tokenFile"):
        return TokenFile(Path(user["tokenFile"]))
    if user.get("token"):
        return Credentials(f"Bearer {user['token']}")
    if user.get("username"):
        login = f"{user['username']}:{user.get('password', '')}"
        return Credentials(f"Basic {base64.b64encode(login.encode()).decode()}")
    if user.get("auth-provider"):
        return Credentials(f"Bearer {_id_token(user['auth-provider'])}")
    if user.get("exec"):
        return ExecPlugin(user["exec"], cluster)
    return Credentials()


def _id_token(provider: Json) -> str:
    """Return the token that kubectl has left for OpenID Connect. kubectl renews it in the kubeconfig; ktpy reads it."""
    token = (provider.get("config") or {}).get("id-token")
    if provider.get("name") != "oidc" or not token:
        raise Unauthorized(
            f"`auth-provider` ({provider.get('name')}) of this context's user is unsupported: it gives no token.",
            hint="Use the credential plugin of your provider (`exec` in the kubeconfig); kubectl does so since 1.26.",
        )
    return str(token)


def file_or_data(section: Json, key: str) -> bytes | None:
    """Return what `key` names: the base64 of `key`-data, else the content of the file `key`, else None."""
    try:
        if section.get(f"{key}-data"):
            return base64.b64decode("".join(section[f"{key}-data"].split()), validate=True)
        return Path(section[key]).read_bytes() if section.get(key) else None
    except (OSError, ValueError) as exc:
        raise KubeconfigMissing(f"The kubeconfig's {key} cannot be read: {exc}.") from exc


def key_pair_of(user: Json) -> KeyPair | None:
    """Return the client certificate and its key in PEM that the kubeconfig names for a user, if it names both."""
    certificate, key = file_or_data(user, "client-certificate"), file_or_data(user, "client-key")
    return (certificate, key) if certificate and key else None


def load_key_pair(context: ssl.SSLContext, key_pair: KeyPair) -> None:
    """Give TLS the client certificate. The ssl module reads only files."""
    with _file_in_memory() as (file, path):
        file.write(b"\n".join(key_pair))
        file.flush()
        try:
            context.load_cert_chain(path, password=_no_password)
        except ssl.SSLError as exc:
            raise KubeconfigMissing(
                f"The client certificate of this context cannot be used: {exc.reason or exc}."
            ) from exc


@contextmanager
def _file_in_memory() -> Iterator[tuple[IO[bytes], str]]:
    """Yield a file and its path: in memory and without a name on Linux, else of this user alone and gone at once."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("ktpy-client-certificate", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            yield file, f"/proc/self/fd/{descriptor}"
    else:
        from tempfile import NamedTemporaryFile  # here: Linux need not wait for it

        with NamedTemporaryFile() as file:
            yield file, file.name


def _no_password() -> str:
    """Refuse a key with a passphrase, for which OpenSSL would ask on the terminal."""
    raise KubeconfigMissing("The client key of this context has a passphrase, which Kubernetes clients do not ask for.")
