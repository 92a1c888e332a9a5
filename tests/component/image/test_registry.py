"""Pushing to distribution, the registry that others are measured by, over TLS."""

import base64
import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ktpy.errors import RegistryRefused, RegistryUnreachable
from ktpy.image import login, name
from ktpy.image.archive import MANIFEST_TYPE, Image
from ktpy.image.name import ImageName
from ktpy.image.registry import Registry
from tests.component.image.conftest import PASSWORD, log_in
from tests.kit.ports import free_port
from tests.unit.image.images import make_image
from tests.unit.kube.certificates import KeyPair


def push(registry: str, image: Image, authority: Path | None = None, repository: str = "team/agent") -> list[str]:
    target = name.parse(f"{registry}/{repository}:1", "")
    told: list[str] = []
    Registry(target, login.find(target), authority=authority).push(image, told.append)
    return told


def fetched(registry: str, path: str, authority: Path) -> bytes:
    """What the registry has, as any client of it would get it."""
    request = urllib.request.Request(f"https://{registry}/v2/team/agent/{path}", headers={"Accept": MANIFEST_TYPE})
    request.add_header("Authorization", f"Basic {base64.b64encode(f'al:{PASSWORD}'.encode()).decode()}")
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=authority)) as answer:
        return bytes(answer.read())


def test_an_image_lies_there_as_it_was_and_is_sent_once(with_password: str, authority: Path, home: Path) -> None:
    log_in(home, with_password)
    image = make_image(b"one", b"two" * 1_000_000)
    assert sum("is sent" in line for line in push(with_password, image, authority)) == 3
    manifest = json.loads(fetched(with_password, "manifests/1", authority))
    for blob, described in zip((image.config, *image.layers), (manifest["config"], *manifest["layers"]), strict=True):
        with blob.open() as file:
            assert fetched(with_password, f"blobs/{described['digest']}", authority) == file.read()
    assert push(with_password, image, authority) == [
        f"{one.digest[:19]} is there" for one in (*image.layers, image.config)
    ]


@pytest.mark.skipif(shutil.which("buildah") is None, reason="there is no buildah, which would pull it")
def test_another_client_pulls_it(with_password: str, authority: Path, home: Path, tmp_path: Path) -> None:
    log_in(home, with_password)
    push(with_password, make_image(b"one"), authority)
    store = ("--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs")
    pull = ("pull", "--quiet", "--cert-dir", str(authority.parent), f"{with_password}/team/agent:1")
    done = subprocess.run(["buildah", *store, *pull], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_wrong_is_a_sentence(with_password: str, authority: Path, home: Path, closed: str) -> None:
    image = make_image(b"one")
    with pytest.raises(RegistryUnreachable, match="is not trusted here: self-signed certificate") as unknown:
        push(with_password, image)
    assert "--ca FILE" in str(unknown.value.hint)
    with pytest.raises(RegistryRefused, match="wants a login, and there is none") as missing:
        push(with_password, image, authority)
    assert missing.value.hint == f"Log in: docker login {with_password}"
    log_in(home, with_password, password="wrong")
    with pytest.raises(RegistryRefused, match=r"does not accept the login of al in .*/config.json \(authentication"):
        push(with_password, image, authority)
    with pytest.raises(RegistryUnreachable, match="cannot be reached: Connection refused"):
        push(closed, image)


def test_the_loopback_may_do_without_tls_and_others_where_that_is_said(
    start: Callable[..., str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, image = start(), make_image(b"one")
    assert "is sent" in push(registry, image)[0]
    monkeypatch.setattr(ImageName, "is_here", False)
    with pytest.raises(RegistryUnreachable, match="speaks no TLS") as refused:
        push(registry, image)
    assert "--plain-http" in str(refused.value.hint)
    Registry(name.parse(f"{registry}/team/agent", "1"), None, plain_http=True).push(image, print)


@pytest.fixture
def closed() -> str:
    return f"127.0.0.1:{free_port()}"


def test_a_registry_of_tokens_gives_those_that_the_login_may_have(
    start: Callable[..., str], key_pair: KeyPair, authority: Path, home: Path
) -> None:
    issuer = TokenServer(key_pair)
    with issuer:
        token = {"realm": issuer.url, "service": "registry", "issuer": "me", "rootcertbundle": str(authority)}
        registry = start(key_pair, auth={"token": {**token, "signingalgorithms": ["ES256"]}})
        log_in(home, registry)
        assert "is sent" in push(registry, make_image(b"one"), authority)[0]
        assert issuer.scopes[-1] == "repository:team/agent:pull,push"
        with pytest.raises(RegistryRefused, match=r"does not accept the login of al|does not let"):
            push(registry, make_image(b"one"), authority, repository="others/agent")


class TokenServer(ThreadingHTTPServer):
    """Gives al tokens for repositories of his team, as the registry's documentation has them (JWT, ES256)."""

    def __init__(self, key_pair: KeyPair) -> None:
        self.scopes: list[str] = []
        self._key_pair = key_pair
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                server.scopes += query["scope"]
                is_al = self.headers["Authorization"] == f"Basic {base64.b64encode(f'al:{PASSWORD}'.encode()).decode()}"
                body = json.dumps({"token": server.token(query["scope"][0] if is_al else "")}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/token"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def token(self, scope: str) -> str:
        kind, repository, actions = scope.split(":") if "/" in scope and ":team/" in scope else ("", "", "")
        access = [{"type": kind, "name": repository, "actions": actions.split(",")}] if kind else []
        certificate = x509.load_pem_x509_certificate(self._key_pair.certificate).public_bytes(Encoding.DER)
        now = int(time.time())
        claims = {"iss": "me", "sub": "al", "aud": "registry", "exp": now + 60, "nbf": now - 60, "access": access}
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        key = load_pem_private_key(self._key_pair.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
