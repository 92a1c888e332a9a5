"""HTTP/3 over QUIC, by aioquic: `serve PORT DIRECTORY` until the end of its input, `get HOST PORT CERTIFICATE BYTES`.

The server makes a certificate, `cert.pem` in the directory, and answers a GET of /N with N bytes. The client, which is
given the certificate itself, prints JSON: the status, how many bytes came, and their SHA-256.
"""

import asyncio
import datetime
import hashlib
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "server.example"
BYTE = b"x"


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for NAME, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for path, data in zip(paths, (certificate.public_bytes(serialization.Encoding.PEM), private), strict=True):
        path.write_bytes(data)
    paths[0].chmod(0o644)
    return paths


class Server(QuicConnectionProtocol):  # type: ignore[misc]  # aioquic is skipped
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            if isinstance(found, HeadersReceived):
                size = int(dict(found.headers)[b":path"].lstrip(b"/"))
                self._http.send_headers(found.stream_id, [(b":status", b"200")])
                self._http.send_data(found.stream_id, BYTE * size, end_stream=True)
                self.transmit()


class Client(QuicConnectionProtocol):  # type: ignore[misc]  # aioquic is skipped
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._http = H3Connection(self._quic)
        self._body = b""
        self._status = ""
        self._done = asyncio.get_running_loop().create_future()

    async def get(self, path: str) -> tuple[str, bytes]:
        stream = self._quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": NAME, ":path": path}
        self._http.send_headers(stream, [(key.encode(), field.encode()) for key, field in fields.items()], True)
        self.transmit()
        await self._done
        return self._status, self._body

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self._status = dict(found.headers)[b":status"].decode()
            elif isinstance(found, DataReceived):
                self._body += found.data
            if getattr(found, "stream_ended", False):
                self._done.set_result(None)


async def run_server(port: str, directory: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(*make_certificate(Path(directory)))
    await serve("::", int(port), configuration=configuration, create_protocol=Server)
    print("serving", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def run_client(host: str, port: str, certificate: str, size: str) -> None:
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name=NAME, verify_mode=ssl.CERT_REQUIRED, idle_timeout=20.0
    )
    configuration.load_verify_locations(cadata=certificate.encode())
    async with connect(host, int(port), configuration=configuration, create_protocol=Client) as client:
        assert isinstance(client, Client)
        status, body = await client.get(f"/{size}")
    print(json.dumps({"status": status, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}))


if __name__ == "__main__":
    main: Any = {"serve": run_server, "get": run_client}[sys.argv[1]]
    asyncio.run(main(*sys.argv[2:]))
