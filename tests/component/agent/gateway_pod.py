"""A gateway pod without Kubernetes, its original pods, laptops in front of it, and clients that never stop asking."""

import http.client
import http.server
import json
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.component.agent import laptop
from tests.component.agent.pod import PATIENCE_S, UID, Pod, make_identity
from tests.kit.ports import free_port
from tests.kit.waiting import eventually

ALL: dict[str, Any] = {"match": None}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["asyncssh"])  # which takes as long to import as a gateway to start


def header(name: str, **criterion: str) -> dict[str, Any]:
    """A mesh on one header: `exact=` or `regex=`."""
    return {"match": {"headers": [{"name": name, **criterion}], "path_prefix": None, "baggage": None}}


class GatewayPod(Pod):
    """`ktpy-agent gateway` in front of an origin on loopback; the Service's port number is the origin's own."""

    role = "gateway"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ready_port = free_port()
        self._ports: list[dict[str, Any]] = []
        self._identities: dict[str, str] = {}
        self.describe(has_origin=True)

    def describe(self, *, has_origin: bool) -> None:
        origin = {"host": "127.0.0.1"} if has_origin else None
        self.spec = json.dumps({"version": 1, "target": "web", "origin": origin, "ports": self._ports})

    def add_port(self, port: int, *, http: bool = True, protocol: str = "TCP", has_origin: bool = True) -> int:
        """Stand in front of `port`; the answer is the port of the gateway itself."""
        bind = free_port()
        name = f"p{port}"
        self._ports.append({"port": port, "name": name, "bind": bind, "protocol": protocol, "http": http})
        self.describe(has_origin=has_origin)
        self.annotate(self._identities)
        return bind

    def let_in(self, session: str) -> Path:
        """A key for a session: a new annotation, and the file of its private half."""
        identity = self.directory / f"identity-{session}"
        self.let_in_key(session, make_identity(identity))
        return identity

    def let_in_key(self, session: str, public_line: str) -> None:
        """Annotate a session's public key."""
        self._identities[session] = public_line
        self.annotate(self._identities)

    @contextmanager
    def serving(self, **environment: str) -> Iterator[None]:
        """From ready until the end of the block."""
        with self.running(environment={"KTPY_READY_PORT": str(self.ready_port), **environment}):
            assert eventually(self.is_ready), "\n".join(self.log)
            self.wait_until_listening()
            yield

    @contextmanager
    def holding(self) -> Iterator[int]:
        """With the pod's second container, whose pid this is, from when it listens until the end of the block."""
        command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
        agent = str(self.directory / "agent-image" / "ktpy-agent")
        environment = {"PATH": os.environ["PATH"], "KTPY_RUN_DIR": str(self.run_dir)}
        (self.run_dir / "held.sock").unlink(missing_ok=True)
        with subprocess.Popen([*command, agent, "hold"], env=environment) as holder:
            try:
                assert eventually((self.run_dir / "held.sock").exists)
                yield holder.pid
            finally:
                holder.terminate()

    def is_ready(self) -> bool:
        try:
            return get(self.ready_port, path="/ready").status == 200
        except OSError:
            return False

    @contextmanager
    def laptop(self, session: str, local_port: int, *routes: dict[str, Any], owner: str = "") -> Iterator["Laptop"]:
        """A laptop with these routes; accepted or refused, its answer is there when the block begins."""
        identity = self.directory / f"identity-{session}"
        if not identity.exists():
            self.let_in(session)
            self.wait_for_log(rf"authorized sessions: .*\b{session}\b")
        routes = tuple({"when_local_down": "origin", **route} for route in routes)
        hello = {"version": 1, "session": session, "owner": owner or session, "routes": routes}
        made = Laptop(self.port, str(identity), json.dumps(hello), local_port)
        try:
            yield made
        finally:
            made.kill()


class Laptop:
    def __init__(self, ssh_port: int, identity: str, hello: str, local_port: int) -> None:
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._told, tell = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=laptop.run, args=(tell, ssh_port, identity, hello, local_port))
        self._process.start()
        tell.close()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.answer = self.next_line()

    def _read(self) -> None:
        with suppress(EOFError):
            while True:
                self._lines.put(json.loads(self._told.recv()))
        self._lines.put(None)

    def next_line(self) -> dict[str, Any] | None:
        """What the agent said next; None when the connection has ended."""
        return self._lines.get(timeout=PATIENCE_S)

    def counters(self, port: int, *, requests: int = 0, fallbacks: int = 0) -> dict[str, Any]:
        """The first counters that have reached these numbers."""
        counted: dict[str, Any] = {}
        deadline_s = time.monotonic() + PATIENCE_S
        while (line := self.next_line()) is not None and time.monotonic() < deadline_s:
            counted = line["counters"][str(port)]
            if counted["requests"] >= requests and counted["fallbacks"] >= fallbacks:
                return counted
        raise AssertionError(f"the route ended, or its time, with {counted}")

    def freeze(self) -> None:
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._reader.join()
        self._told.close()


class Answer(NamedTuple):
    status: int
    body: str


def get(port: int, *, path: str = "/", headers: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())
    finally:
        connection.close()


@contextmanager
def web_server(name: str, port: int = 0) -> Iterator[int]:
    """Answers every request with its name; POST and PUT with the number of bytes they carried."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in one write: nothing can replace an answer that has begun

        def do_GET(self) -> None:
            self.answer(name.encode())

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received = 0
            while received < length:
                received += len(self.rfile.read(min(1 << 20, length - received)))
            self.answer(str(received).encode())

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Seen", ",".join(f"{key}={value}" for key, value in self.headers.items()))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Clients of these tests break off as they please."""

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class Load:
    """Clients that ask all the time, half of them on a new connection each time, and note every failure."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None, *, clients: int = 4) -> None:
        self._port = port
        self._headers = dict(headers or {})
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest_s = 0.0
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def until(self, answer: str, times: int = 20) -> None:
        """Wait until this answer has come that many times more."""
        wanted = self.answers[answer] + times
        assert eventually(lambda: self.answers[answer] >= wanted), self.answers

    def only(self, answer: str, times: int = 50) -> None:
        """Wait until nothing but this answer comes, that many times in a row."""

        def others() -> int:
            return self.answers.total() - self.answers[answer]

        def settled() -> bool:
            before = others()
            self.until(answer, times)
            return others() == before

        assert eventually(settled), self.answers

    def _ask(self, keeps_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._end.is_set():
            started_s = time.monotonic()
            try:
                connection.request("GET", "/", headers=self._headers)
                answer = connection.getresponse()
                body = answer.read().decode()
                failure = None if answer.status == 200 else f"{answer.status} {body}"
            except (OSError, http.client.HTTPException) as exc:
                body, failure = "", repr(exc)
                connection.close()
            if not keeps_alive:
                connection.close()
            took_s = time.monotonic() - started_s
            with self._lock:
                self.slowest_s = max(self.slowest_s, took_s)
                if failure is None:
                    self.answers[body] += 1
                else:
                    self.failures.append(failure)
            self._end.wait(0.02)
        connection.close()


@contextmanager
def open_directory() -> Iterator[Path]:
    """pytest's own temporary directories are closed to other users, and the pod's user is another."""
    path = Path(tempfile.mkdtemp(prefix="ktpy-gw-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)
