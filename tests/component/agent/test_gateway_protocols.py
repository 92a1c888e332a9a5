"""What passes through a gateway: every protocol, to the original pods and to a laptop, unchanged."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.component.agent.gateway_pod import ALL, GatewayPod, get, header, open_directory, web_server
from tests.component.agent.pod import PATIENCE_S, anonymous_bytes
from tests.kit.ports import free_port
from tests.kit.tcp_server import tcp_server
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]


def haproxy_version() -> tuple[int, ...]:
    output = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, output.split()[2].split(".")[:2]))


@pytest.fixture
def pod() -> Iterator[GatewayPod]:
    with open_directory() as directory:
        yield GatewayPod(directory)


def read_head(connection: socket.socket) -> bytes:
    """What comes behind it stays unread."""
    received, end = b"", b"\r\n\r\n"
    while not received.endswith(end) and (waiting := connection.recv(65536, socket.MSG_PEEK)):
        place = (received + waiting).find(end)
        received += connection.recv(len(waiting) if place < 0 else place + len(end) - len(received))
    return received


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size and (data := connection.recv(size - len(received))):
        received += data
    return received


@contextmanager
def both_ways(pod: GatewayPod, serve: Callable[[socket.socket], None], *, http: bool = True) -> Iterator[list[int]]:
    """Two ports of a gateway: one leads to an original pod, the other to a laptop; the same program serves both."""
    with ExitStack() as stack:
        ports = [stack.enter_context(tcp_server(serve)) for _ in range(2)]
        binds = [pod.add_port(port, http=http) for port in ports]
        stack.enter_context(pod.serving())
        local = stack.enter_context(tcp_server(serve))
        laptop = stack.enter_context(pod.laptop("s1", local, {"port": ports[1], **ALL}))
        laptop.counters(ports[1])
        assert eventually(lambda: laptop.counters(ports[1])["is_up"])
        yield binds


def upgrading(connection: socket.socket) -> None:
    if b"upgrade: websocket" in read_head(connection).lower():
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        while data := connection.recv(4096):
            connection.sendall(data)


def test_websocket(pod: GatewayPod) -> None:
    with both_ways(pod, upgrading) as binds:
        for bind in binds:
            with connect(bind) as client:
                client.sendall(
                    b"GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"  # RFC 6455, 1.3
                )
                assert read_head(client).startswith(b"HTTP/1.1 101")
                for message in (b"\x81\x02hi", bytes(range(256)) * 64):
                    client.sendall(message)
                    assert exactly(client, len(message)) == message


def streaming(connection: socket.socket) -> None:
    """Server-sent events: one, and the next only when the client closes or half a minute is over."""
    if read_head(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        connection.settimeout(30)
        connection.recv(1)


def test_server_sent_events_arrive_one_by_one(pod: GatewayPod) -> None:
    with both_ways(pod, streaming) as binds:
        for bind in binds:
            with connect(bind) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
                read_head(client)
                assert b"data: 1\n\n" in client.recv(4096)


def greeting(connection: socket.socket) -> None:
    """Speaks first, as databases do; answers when the client has finished, which a proxy has to pass on."""
    connection.sendall(b"hello\n")
    received = b""
    while data := connection.recv(65536):
        received += data
    connection.sendall(b"%d\n" % len(received))


def test_plain_tcp_with_half_close(pod: GatewayPod) -> None:
    with both_ways(pod, greeting, http=False) as binds:
        for bind in binds:
            with connect(bind) as client:
                assert exactly(client, 6) == b"hello\n"
                client.sendall(b"\x00\xff" * 500_000)
                client.shutdown(socket.SHUT_WR)
                assert exactly(client, 8) == b"1000000\n"


def swallowing(connection: socket.socket) -> None:
    """Counts a chunked body, and answers in chunks."""
    read_head(connection)
    with connection.makefile("rb") as stream:
        total = 0
        while size := int(stream.readline() or b"0", 16):
            total += size
            stream.read(size + 2)
        stream.readline()
    number = b"%d" % total
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(number), number)
    )


def test_chunked_bodies(pod: GatewayPod) -> None:
    piece = b"x" * 100_000
    with both_ways(pod, swallowing) as binds:
        for bind in binds:
            client = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)
            client.request("POST", "/", body=iter([piece] * 50), encode_chunked=True)
            assert client.getresponse().read() == b"5000000"
            client.close()


def test_a_body_of_a_gigabyte(pod: GatewayPod) -> None:
    size = 1 << 30
    piece = b"x" * (1 << 20)
    with web_server("origin") as origin:
        bind = pod.add_port(origin)
        with pod.serving():
            client = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)
            client.request("POST", "/", body=iter([piece] * 1024), headers={"Content-Length": str(size)})
            assert client.getresponse().read() == b"%d" % size
            client.close()


def test_a_large_body_reaches_a_laptop(pod: GatewayPod) -> None:
    size = 64 << 20
    with web_server("origin") as origin, web_server("local") as local:
        bind = pod.add_port(origin)
        with pod.serving(), pod.laptop("s1", local, {"port": origin, **ALL}):
            assert eventually(lambda: get(bind).body == "local")
            client = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)
            client.request("POST", "/", body=iter([b"x" * (1 << 20)] * 64), headers={"Content-Length": str(size)})
            assert client.getresponse().read() == b"%d" % size
            client.close()


def test_no_header_is_added_or_lost(pod: GatewayPod) -> None:
    with web_server("origin") as origin:
        bind = pod.add_port(origin)
        with pod.serving():
            client = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)
            client.putrequest("GET", "/", skip_accept_encoding=True, skip_host=True)
            for name, value in [
                ("Host", "web:81"),
                ("SOAPAction", "a"),
                ("X-Long", "y" * 40_000),
                ("X-Twice", "1"),
                ("X-Twice", "2"),
            ]:
                client.putheader(name, value)
            client.endheaders()
            seen = client.getresponse().getheader("X-Seen", "")
            client.close()
    # The usual names have their usual capitals, others come in lower case, which means nothing (RFC 9110, 5.1).
    assert seen == f"Host=web:81,SOAPAction=a,x-long={'y' * 40_000},x-twice=1,x-twice=2"


def abundant(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
    connection.sendall(b"x" * 20_000_000)


def test_a_download_may_pause(pod: GatewayPod) -> None:
    with tcp_server(abundant) as origin:
        bind = pod.add_port(origin)
        with pod.serving(), connect(bind) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            read_head(client)
            time.sleep(8)  # more than the 5 s that a refused upload has
            assert len(exactly(client, 20_000_000)) == 20_000_000


def with_a_large_head(connection: socket.socket) -> None:
    """Answers a request's head of any size by a head of 90 KB."""
    size = len(read_head(connection))
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: 0\r\nX-Size: %d\r\n\r\n" % (b"y" * 90_000, size)
    )


REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"


def answering_once(connection: socket.socket) -> None:
    """Closes where a second request is."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    read_head(connection)


def test_a_pod_that_closes_a_kept_connection_closes_the_clients(pod: GatewayPod) -> None:
    """As without a gateway: the client knows by its own rules whether to ask again (RFC 9112, 9.3.1)."""
    with tcp_server(answering_once) as port:
        bind = pod.add_port(port)
        with pod.serving(), connect(bind) as client:
            client.sendall(REQUEST)
            assert read_head(client).startswith(b"HTTP/1.1 200")
            client.sendall(REQUEST)
            assert read_head(client) == b""


def test_heads_of_100_kilobytes(pod: GatewayPod) -> None:
    with both_ways(pod, with_a_large_head) as binds:
        for bind in binds:
            with connect(bind) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nX-Long: %s\r\n\r\n" % (b"y" * 100_000))
                head = read_head(client)
            assert head.startswith(b"HTTP/1.1 200")
            assert len(head) > 90_000
            assert int(head.lower().partition(b"x-size: ")[2].split()[0]) > 100_000


def test_well_formed_requests_pass_and_a_field_name_that_is_no_token_does_not(pod: GatewayPod) -> None:
    """Python's own parser is a second opinion on what passes."""
    passes = {
        "/\u00e9?q=|{}": b"X-A: 1",
        "/a": b"!#$%&'*+-.^_`|~9z: 1",
        "/b": b"X-A:",
    }
    with web_server("origin") as origin:
        bind = pod.add_port(origin)
        with pod.serving():
            for path, field in passes.items():
                with connect(bind) as client:
                    client.sendall(b"GET %s HTTP/1.1\r\nHost: web\r\n%s\r\n\r\n" % (path.encode(), field))
                    answer = http.client.HTTPResponse(client)
                    answer.begin()
                    name, _, value = field.partition(b":")
                    assert answer.status == 200
                    assert f"{name.decode().lower()}={value.decode().strip()}" in answer.headers["X-Seen"]
            for field in (b"a b: 1", b"a(b): 1"):
                with connect(bind) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n%s\r\n\r\n" % field)
                    assert read_head(client).startswith(b"HTTP/1.1 400")


@pytest.mark.skipif(haproxy_version() < (3, 0), reason="HAProxy 2.6 has no such limit that it survives")
def test_unfinished_requests_take_a_bounded_part_of_the_memory(pod: GatewayPod) -> None:
    with web_server("origin") as origin, ExitStack() as stack:
        bind = pod.add_port(origin)
        stack.enter_context(pod.serving())
        for _ in range(2000):
            client = stack.enter_context(connect(bind))
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nX-Long: " + b"x" * 120_000)
        assert eventually(lambda: get(bind).status == 200)
        held = sum(anonymous_bytes(pid) for pid in pod.processes("/usr/sbin/haproxy"))
    assert held < 200 << 20


def pausing(connection: socket.socket) -> None:
    """Waits for the end of a body of 2 bytes, and as long again before it answers."""
    read_head(connection)
    started_s = time.monotonic()
    exactly(connection, 2)
    time.sleep(time.monotonic() - started_s)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_an_upload_may_pause_and_its_answer_be_late(pod: GatewayPod) -> None:
    with tcp_server(pausing) as origin:
        bind = pod.add_port(origin)
        with pod.serving(), connect(bind) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nx")
            time.sleep(6)  # more than the 5 s that a refused upload has
            client.sendall(b"x")
            assert read_head(client).startswith(b"HTTP/1.1 200")


def refusing(connection: socket.socket) -> None:
    """Answers before it has read the body."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.skipif(haproxy_version() < (3, 0), reason="what ends it came with HAProxy 3.0")
def test_a_client_that_stops_in_the_middle_of_a_refused_upload_is_not_kept(pod: GatewayPod) -> None:
    with tcp_server(refusing) as origin:
        bind = pod.add_port(origin)
        with pod.serving(), connect(bind) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 60000000\r\n\r\nx")
            assert read_head(client).startswith(b"HTTP/1.1 413")
            assert client.recv(1) == b""


@pytest.mark.skipif(haproxy_version() < (3, 0), reason="it would take 60 s")
def test_a_connection_that_is_never_used_is_closed_without_a_word(pod: GatewayPod) -> None:
    with web_server("origin") as origin:
        bind = pod.add_port(origin)
        with pod.serving(), connect(bind) as client:
            assert client.recv(1) == b""


def test_an_upgrade_to_h2c_is_not_passed_on(pod: GatewayPod) -> None:
    """The connection would become a tunnel, and its later requests would get past the matches."""
    with web_server("origin") as origin:
        bind = pod.add_port(origin)
        with pod.serving():
            client = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)
            upgrade = {
                "Connection": "Upgrade, HTTP2-Settings",
                "Upgrade": "h2c",
                "HTTP2-Settings": "AAMAAABkAAQCAAAAAA",
            }
            client.request("GET", "/", headers=upgrade)
            seen = client.getresponse().getheader("X-Seen", "").lower()
            client.close()
    assert "h2c" not in seen
    assert "http2-settings=" not in seen


def test_grpc_with_streaming_and_trailers_goes_where_each_call_belongs(pod: GatewayPod) -> None:
    h2c = pytest.importorskip("tests.kit.h2c", reason="needs the h2 package")
    with tcp_server(h2c.grpc("origin")) as origin, tcp_server(h2c.grpc("local")) as local:
        bind = pod.add_port(origin)
        mesh = {"port": origin, **header("version", exact="foobar")}
        with pod.serving(), pod.laptop("s1", local, mesh) as laptop:
            assert eventually(lambda: laptop.counters(origin)["is_up"])
            client = h2c.Client(connect(bind))
            calls = {
                name: client.open(headers) for name, headers in (("origin", []), ("local", [("version", "foobar")]))
            }
            for name, (stream, call) in calls.items():
                while call.body != name.encode():
                    client.read()
                client.send(stream, b" ping")
                while call.body != f"{name} ping".encode():  # before the client has ended its side
                    client.read()
                client.send(stream, b"", end=True)
                while not call.ended:
                    client.read()
                assert call.headers[":status"] == "200"
                assert call.trailers == {"grpc-status": "0"}
            client.socket.close()


def test_as_many_streams_on_a_connection_as_the_pods_take(pod: GatewayPod) -> None:
    """The pods here take 100 on a connection of theirs, so there have to be several to them."""
    h2c = pytest.importorskip("tests.kit.h2c", reason="needs the h2 package")
    with tcp_server(h2c.grpc("origin")) as origin:
        bind = pod.add_port(origin)
        with pod.serving():
            client = h2c.Client(connect(bind))
            while client.h2.remote_settings.max_concurrent_streams != 2000:
                client.read()
            for _ in range(
                1000
            ):  # all stay open; HAProxy 2.6 has a burst on a connection before the pod has said its limit
                _, call = client.open([])
                while not call.body:
                    client.read()
            client.socket.close()


def test_udp_reaches_the_original_pods(pod: GatewayPod) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as origin, web_server("tcp") as tcp:
        origin.bind(("127.0.0.1", 0))
        origin.settimeout(PATIENCE_S)
        pod.add_port(tcp)
        bind = pod.add_port(origin.getsockname()[1], http=False, protocol="UDP")
        with pod.serving(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(("127.0.0.1", bind))
            assert eventually(lambda: is_bound(bind))
            client.send(b"ping")
            datagram, address = origin.recvfrom(100)
            origin.sendto(datagram + b" pong", address)
            assert client.recv(100) == b"ping pong"


def is_bound(port: int) -> bool:
    table = Path("/proc/net/udp").read_text() + Path("/proc/net/udp6").read_text()
    return f":{port:04X} 0000" in table  # nobody is its peer: it listens


@pytest.mark.parametrize(
    "options",
    [
        ["-W", "127.0.0.1:{port}"],
        ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"],
        ["-o", "ExitOnForwardFailure=yes", "-R", "0.0.0.0:{port}:127.0.0.1:1"],
    ],
    ids=["dial", "listen", "listen-for-all"],
)
def test_a_session_has_no_tcp(pod: GatewayPod, options: list[str]) -> None:
    with web_server("origin") as origin:
        pod.add_port(origin)
        identity = pod.let_in("s1")
        with pod.serving():
            client = pod.ssh(identity, *(option.format(port=origin) for option in options))
            _, errors = client.communicate(timeout=PATIENCE_S)
    assert client.returncode != 0
    assert b"forwarding failed" in errors


def test_a_session_reaches_no_unix_socket_of_the_pod(pod: GatewayPod) -> None:
    """HAProxy's own socket would let it do anything."""
    port = free_port()
    with web_server("origin") as origin:
        pod.add_port(origin)
        identity = pod.let_in("s1")
        with pod.serving():
            client = pod.ssh(identity, "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:{pod.run_dir}/haproxy.sock")

            def refused() -> bool:
                try:
                    with connect(port) as through:
                        through.sendall(b"show info\n")
                        return through.recv(100) == b""
                except ConnectionRefusedError:  # by the client, which is not logged in yet
                    return False
                except OSError:
                    return True

            assert eventually(refused)
            assert b"Name: HAProxy" in ask_directly(pod.run_dir / "haproxy.sock")
            client.kill()
            client.communicate()


def ask_directly(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(b"show info\n")
        return connection.recv(4096)


def test_curl_agrees_about_h2c(pod: GatewayPod) -> None:
    """A second opinion on prior knowledge, where the original pods are away."""
    bind = pod.add_port(free_port())
    with pod.serving():
        done = subprocess.run(
            [
                "curl",
                "-so",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code}",
                "--http2-prior-knowledge",
                f"127.0.0.1:{bind}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "2 503"
