"""A service with ports of every kind, and the laptop's servers for those that are exposed."""

import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e.kit import workloads
from tests.e2e.kit.workloads import Manifest, container
from tests.kit import h2c
from tests.kit.tcp_server import Serve, tcp_server
from tests.lab import Lab, certs
from tests.lab.layout import REPOSITORY
from tests.lab.sessions.local_server import listener, running_program

NAME = "all"
HTTP, GRPC, H2C, REDIS, HTTPS, ECHO = 80, 50051, 8082, 6379, 443, 7
"""The service's ports, by what is spoken there."""
LOCAL_HTTP, LOCAL_GRPC, LOCAL_H2C, LOCAL_REDIS = 3001, 3002, 3003, 3004
EXPOSED = (
    "--expose",
    f"{LOCAL_HTTP}:http,{LOCAL_GRPC}:{GRPC},{LOCAL_H2C}:h2c",
    "--expose",
    f"{LOCAL_REDIS}:redis",
    "--expose",
    str(HTTPS),
)
"""Ports by name and by number, several in one; 443 is the laptop's number, too, which only its root can serve."""
SERVER_NAME = "till.shop.example"
ALPN = "shop/1"


def originals() -> list[Manifest]:
    """The service and its pods, which speak HTTP on ports 80 and 8082, and echo; and a client's pod."""
    serve = ("python3", "/code/server.py")
    pods = workloads.deployment(
        NAME,
        container("web", *serve, "http", "original", ports={"web": 8080}),
        container("echo", *serve, "echo", ports={"echo": 7007, "digest": 7008, "echo-udp": (7007, "UDP")}),
        container("low", "socat", "TCP-LISTEN:80,fork,reuseaddr", "TCP:127.0.0.1:8080", ports={"low": 80}),
        container("secure", "socat", "TCP-LISTEN:443,fork,reuseaddr", "TCP:127.0.0.1:7007", ports={"secure": 443}),
        code="server",
    )
    service = workloads.service(
        NAME,
        {"name": "http", "port": HTTP, "targetPort": 80},
        {"name": "rpc", "port": GRPC, "targetPort": 8081, "appProtocol": "grpc"},
        {"name": "h2c", "port": H2C, "targetPort": "web"},
        {"name": "redis", "port": REDIS, "targetPort": "digest"},
        {"name": "tls", "port": HTTPS, "targetPort": 443},
        {"name": "echo-tcp", "port": ECHO, "targetPort": "echo"},
        {"name": "echo-udp", "port": ECHO, "targetPort": "echo-udp", "protocol": "UDP"},
    )
    code = workloads.code("server", server=REPOSITORY / "tests/demo/server.py")
    return [code, pods, service, workloads.client()]


@contextmanager
def served_locally(lab: Lab) -> Iterator[None]:
    """Everything that is exposed but the database."""
    with ExitStack() as stack:
        web, grpc = str(LOCAL_HTTP), str(LOCAL_GRPC)
        stack.enter_context(running_program(lab, "tests.e2e.kit.local_program", web, port=LOCAL_HTTP))
        stack.enter_context(running_program(lab, "tests.e2e.kit.grpc_program", "serve", grpc, port=LOCAL_GRPC))
        stack.enter_context(tcp_server(h2c.grpc("local"), listener(lab, LOCAL_H2C)))
        stack.enter_context(tcp_server(_speaking_tls(lab), listener(lab, HTTPS)))
        yield


def _speaking_tls(lab: Lab) -> Serve:
    """Answers in upper case."""
    certificate = certs.Authority.load(lab.layout.pki_dir).issue(certs.Client("till"), names=[SERVER_NAME])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as both:
        Path(both.name).write_bytes(b"".join(certificate))
        context.load_cert_chain(both.name)
    context.set_alpn_protocols([ALPN])

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            while data := tls.recv(1000):
                tls.sendall(data.upper())

    return serve
