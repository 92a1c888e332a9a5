"""A registry's HTTP API, as the OCI distribution specification has it: what pushing an image takes.

Proxies of the environment are heeded. A login goes to the registry alone and to the token server that it names, over
TLS or the loopback, never to where an upload is redirected.
"""

import json
import re
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit

from ktpy import __version__
from ktpy.errors import RegistryRefused, RegistryUnreachable, UsageError
from ktpy.frozen import dataclass
from ktpy.image.archive import MANIFEST_TYPE, Blob, Image
from ktpy.image.login import HUB, Login
from ktpy.image.name import ImageName

TIMEOUT_S: Final = 60.0
"""How long a registry may say nothing."""
_CERTIFICATES: Final = ("/etc/docker/certs.d", "/etc/containers/certs.d")
"""Where Docker and Podman have a folder of authorities for each registry."""
_MOST_BYTES: Final = 4 << 20
"""Of an answer; none of those that are read is longer."""
_WORDS: Final = 200
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class _Answer:
    url: str
    headers: "Message[str, str]"
    content: bytes


class Registry:
    """A Registry is the one of an image's name, with the user's login there."""

    def __init__(
        self, name: ImageName, login: Login | None, *, plain_http: bool = False, authority: Path | None = None
    ) -> None:
        """`plain_http` speaks without TLS, which a registry on the loopback may do anyway. `authority` is a file of
        certificates to trust beside the machine's. Raises UsageError where it is none."""
        self._name, self._login, self._is_plain_allowed = name, login, plain_http or name.is_here
        host = "registry-1.docker.io" if name.registry == HUB else name.registry
        self._url = f"{'http' if plain_http else 'https'}://{host}"
        self._authorization: str | None = None
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=_trust(name.registry, authority)), _NoRedirects()
        )
        opener.addheaders = [("User-Agent", f"ktpy/{__version__}")]
        self._open = opener.open

    def push(self, image: Image, tell: Callable[[str], None]) -> str:
        """Push an image, what the registry has of it already left out, and return its digest.

        Raises RegistryUnreachable and RegistryRefused. Until the manifest is there the name stays what it was.
        """
        self._find_scheme()
        for blob in (*image.layers, image.config):
            if self._has(f"blobs/{blob.digest}"):
                tell(f"{blob.digest[:19]} is there")
                continue
            tell(f"{blob.digest[:19]} is sent, {blob.size / 1e6:.1f} MB")
            self._upload(blob)
        manifest = image.manifest
        with manifest.open() as file:
            answer = self._request("PUT", f"manifests/{self._name.tag}", file.read(), content_type=MANIFEST_TYPE)
        self._compare(answer, manifest.digest)
        if not self._has(f"manifests/{manifest.digest}"):
            raise RegistryRefused(f"{self._name.registry} took the image {self._name}, but does not have it.")
        return manifest.digest

    def _find_scheme(self) -> None:
        """Speak TLS, and without it only where the registry is on the loopback and knows none."""
        try:
            self._request("GET", "/v2/")
        except _NoTls:
            if not self._is_plain_allowed:
                raise
            self._url = self._url.replace("https:", "http:", 1)
            self._request("GET", "/v2/")

    def _has(self, path: str) -> bool:
        try:
            self._request("HEAD", path)
        except _Elsewhere:
            return True
        except _Absent:
            return False
        return True

    def _upload(self, blob: Blob) -> None:
        started = self._request("POST", "blobs/uploads/", b"")
        location = started.headers.get("Location", "")
        if not (place := _of_http(started.url, location)):
            raise RegistryRefused(f"{self._name.registry} names no place for an upload ({location}).")
        if place.startswith("http:") and self._url.startswith("https:"):
            place = place.replace("http:", "https:", 1)  # what a registry says that stands behind a proxy with TLS
        url = _with_query(place, {"digest": blob.digest})
        self._compare(self._request("PUT", url, blob, content_type="application/octet-stream"), blob.digest)

    def _compare(self, answer: _Answer, digest: str) -> None:
        if (found := answer.headers.get("Docker-Content-Digest")) and found != digest:
            raise RegistryRefused(
                f"{self._name.registry} has {found} where {digest} was sent: it was changed on its way.",
            )

    def _request(
        self, method: str, path: str, body: bytes | Blob | None = None, *, content_type: str | None = None
    ) -> _Answer:
        """Ask the registry, with a login once it wants one. `path` is one of the repository's, or a whole URL."""
        url = urljoin(f"{self._url}/v2/{self._name.repository}/", path)
        try:
            return self._send(method, url, body, content_type)
        except HTTPError as error:
            if error.code != 401:
                raise self._refusal(error) from None
            challenge = error.headers.get("WWW-Authenticate", "")
        self._authorization = self._authorize(challenge)
        try:
            return self._send(method, url, body, content_type)
        except HTTPError as error:
            raise self._refusal(error) from None

    def _send(self, method: str, url: str, body: bytes | Blob | None, content_type: str | None) -> _Answer:
        headers = {"Accept": MANIFEST_TYPE}
        if content_type:
            headers["Content-Type"] = content_type
        if self._authorization and urlsplit(url).netloc == urlsplit(self._url).netloc:
            headers["Authorization"] = self._authorization
        if not isinstance(body, Blob):
            return self._exchange(urllib.request.Request(url, body, headers, method=method))  # noqa: S310 - http(s)
        headers["Content-Length"] = str(body.size)
        with body.open() as file:
            return self._exchange(urllib.request.Request(url, file, headers, method=method))  # noqa: S310 - http(s)

    def _exchange(self, request: urllib.request.Request) -> _Answer:
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                return _Answer(answer.url, answer.headers, answer.read(_MOST_BYTES))
        except HTTPError:
            raise
        except (OSError, HTTPException) as error:
            raise self._unreachable(urlsplit(request.full_url).netloc, error) from None

    def _authorize(self, challenge: str) -> str | None:
        """Return the Authorization header that a challenge asks for (RFC 9110, section 11)."""
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_CHALLENGE.findall(rest))
        if scheme.lower() == "basic" and self._login:
            self._refuse_plain(self._url)
            return self._login.basic
        if scheme.lower() != "bearer":
            return None
        if not (realm := _of_http("", asked.get("realm", ""))):
            raise RegistryRefused(f"{self._name.registry} names no server that gives tokens ({challenge}).")
        wanted = {
            "service": asked.get("service", ""),
            "scope": f"repository:{self._name.repository}:pull,push",
            "client_id": "ktpy",
        }
        login, body = self._login, None
        if login is not None:
            self._refuse_plain(realm)
        if login is not None and login.is_identity_token:
            body = urlencode({"grant_type": "refresh_token", "refresh_token": login.secret, **wanted}).encode()
            request = urllib.request.Request(realm, body, method="POST")  # noqa: S310 - looked at above
        else:
            headers = {"Authorization": login.basic} if login is not None else {}
            request = urllib.request.Request(_with_query(realm, wanted), headers=headers)  # noqa: S310 - as above
        try:
            answer = json.loads(self._exchange(request).content)
            token = str(answer.get("token") or answer["access_token"])
        except HTTPError as error:
            raise self._refusal(error) from None
        except (ValueError, KeyError, AttributeError):
            token = ""
        if not re.fullmatch("[!-~]+", token):  # it becomes a header
            raise RegistryRefused(f"{urlsplit(realm).netloc} answered no token for {self._name.registry}.")
        return f"Bearer {token}"

    def _refuse_plain(self, url: str) -> None:
        if url.startswith("http:") and not self._is_plain_allowed:
            raise RegistryRefused(
                f"{url} would get the login of {self._name.registry} without TLS; it was not sent.",
                hint="--plain-http sends it all the same.",
            )

    def _refusal(self, error: HTTPError) -> RegistryRefused:
        registry, login = self._name.registry, self._login
        words = _words(error)
        if error.code == 401 and login is None:
            return RegistryRefused(
                f"{registry} wants a login, and there is none of it.", hint=f"Log in: docker login {registry}"
            )
        if error.code == 401:
            return RegistryRefused(
                f"{registry} does not accept {_who(login)}{words}.", hint=f"Log in again: docker login {registry}"
            )
        if error.code == 403:
            who = _who(login) if login else "who is not logged in"
            return RegistryRefused(
                f"{registry} does not let {who} push to {self._name.repository}{words}.",
                hint="Ask for the right to push there, or name another repository.",
            )
        if error.code == 404:
            return _Absent(
                f"{registry} has no repository {self._name.repository}{words}.",
                hint="Some registries want it to be made before the first push.",
            )
        if error.code == 413:
            return RegistryRefused(f"{registry}, or a proxy in front of it, takes no layer of this size{words}.")
        kind = _Elsewhere if 300 <= error.code < 400 else RegistryRefused
        return kind(f"{registry} answered {error.code} {error.reason}{words}.")

    def _unreachable(self, host: str, error: Exception) -> RegistryUnreachable:
        why = error.reason if isinstance(error, URLError) else error
        if isinstance(why, ssl.SSLCertVerificationError):
            return RegistryUnreachable(
                f"The certificate of {host} is not trusted here: {why.verify_message}.",
                hint=f"--ca FILE names its authority, as {_CERTIFICATES[0]}/{self._name.registry}/ca.crt does.",
            )
        if isinstance(why, ssl.SSLError) and why.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        ):
            return _NoTls(f"{host} speaks no TLS.", hint="--plain-http does without, and so does the login.")
        told = why.strerror if isinstance(why, OSError) else None
        return RegistryUnreachable(f"{host} cannot be reached: {told or why}.")


class _NoTls(RegistryUnreachable):
    """It speaks plain HTTP where TLS was spoken to it."""


class _Absent(RegistryRefused):
    """What was asked for is not there (HTTP 404)."""


class _Elsewhere(RegistryRefused):
    """What was asked for is there, but kept elsewhere (HTTP 3xx)."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: it would take a login along, and a HEAD would fetch what it asks after."""


def _trust(registry: str, authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    given = [authority] if authority is not None else []
    for path in [*given, *(one for folder in _CERTIFICATES for one in sorted(Path(folder, registry).glob("*.crt")))]:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{path} has no certificates to trust: {error.strerror or error}.") from None
    return context


def _who(login: Login | None) -> str:
    if login is None:
        return "anybody"
    return f"the {'token' if login.is_identity_token else f'login of {login.user}'} in {login.source}"


def _of_http(base: str, url: str) -> str:
    """Return the URL, from the base on; an empty one where it is none of HTTP, and not to be opened."""
    with suppress(ValueError):
        joined = urljoin(base, url)
        return joined if urlsplit(joined).scheme in ("http", "https") else ""
    return ""


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"


def _words(error: HTTPError) -> str:
    """Return what a registry says of a refusal, to end a sentence with."""
    try:
        body = error.read(1 << 16)
        (first, *_) = json.loads(body)["errors"]
        words = str(first.get("message") or first.get("code"))
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f" ({words[:_WORDS].rstrip('.')})"
