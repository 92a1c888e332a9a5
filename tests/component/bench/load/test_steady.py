"""The steady load, over loopback: it keeps its schedule, asks again where libraries do, and says what became of all."""

import json
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, pairwise

from tests.bench.load.steady import KEPT_CONNECTIONS, path_of
from tests.bench.loading import ENVIRONMENT, command
from tests.kit.ports import free_port
from tests.kit.tcp_server import Serve, tcp_server

RATE = 100
LOAD_S = 1.0
Line = tuple[float, float, float, str, bool]


def answer(text: str = "web", status: str = "200 OK", *, field: str = "X: y") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n{field}\r\n\r\n{text}".encode()


def serving(
    *answers: bytes, delay_s: float = 0.0, counted: Counter[int] | None = None, paths: list[str] | None = None
) -> Serve:
    """Answers on a connection in turn, the last one again and again; b"" ends it. `counted`: requests by connection."""

    def serve(connection: socket.socket) -> None:
        for number, request in enumerate(iter(lambda: connection.recv(1000), b"")):
            assert request.endswith(b"\r\n\r\n")
            if paths is not None:
                paths.append(request.split(b" ")[1].decode())
            if counted is not None:
                counted[connection.fileno()] += 1
            time.sleep(delay_s)
            if not (data := answers[min(number, len(answers) - 1)]):
                return
            connection.sendall(data)

    return serve


@contextmanager
def steady(port: int) -> Iterator[list[Line]]:
    """The program while the block runs. Its lines are complete after the block."""
    seen: list[Line] = []
    load = command("steady", "127.0.0.1", port, RATE)
    pipe = subprocess.PIPE
    with subprocess.Popen(load, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        output = program.stdout
        reader = threading.Thread(target=lambda: seen.extend(tuple(json.loads(line)) for line in output))
        reader.start()
        try:
            yield seen
        finally:
            program.stdin.close()
            reader.join()
    assert program.returncode == 0


def load_for_a_while(port: int) -> list[Line]:
    with steady(port) as seen:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (len(seen) < 2 or seen[-1][0] < seen[0][0] + LOAD_S):
            time.sleep(0.01)
    return sorted(seen)


def answers(lines: list[Line]) -> set[str]:
    return {text for _, _, _, text, _ in lines}


def test_a_request_is_known_by_its_path() -> None:
    paths: list[str] = []
    with tcp_server(serving(answer(), paths=paths)) as port:
        lines = load_for_a_while(port)
    assert Counter(paths) == Counter(path_of(due_s) for due_s, *_ in lines)


def test_requests_are_due_at_the_rate_however_slow_the_answers_are() -> None:
    with tcp_server(serving(answer(), delay_s=0.2)) as port:
        lines = load_for_a_while(port)
    assert answers(lines) == {"web"}
    assert all(later[0] - earlier[0] < 1.01 / RATE for earlier, later in pairwise(lines))
    assert all(took_s >= late_s + 0.2 for _, late_s, took_s, *_ in lines)


def test_half_of_them_have_a_connection_of_their_own_and_the_others_share_several() -> None:
    connections: list[Counter[int]] = []

    def serve(connection: socket.socket) -> None:
        connections.append(Counter())
        serving(answer(), counted=connections[-1])(connection)

    with tcp_server(serve) as port:
        lines = load_for_a_while(port)
    requests = [counter.total() for counter in connections]
    assert sum(requests) == len(lines)
    assert requests.count(1) >= len(lines) // 2
    assert sum(number > 1 for number in requests) >= KEPT_CONNECTIONS - 1


def test_a_kept_connection_that_ends_instead_of_an_answer_costs_a_second_try() -> None:
    requests: Counter[int] = Counter()
    with tcp_server(serving(answer(), answer(), b"", counted=requests)) as port:
        lines = load_for_a_while(port)
    assert answers(lines) == {"web"}
    assert requests.total() - len(lines) == sum(is_retried for *_, is_retried in lines) > 0


def test_a_connection_that_ends_in_an_answer_or_instead_of_its_first_is_a_failure_and_nothing_is_sent_twice() -> None:
    requests = count()
    broken = answer()[:-1]

    def serve(connection: socket.socket) -> None:
        if connection.recv(1000) and next(requests) % 3 == 0:
            connection.sendall(broken)

    with tcp_server(serve) as port:
        lines = load_for_a_while(port)
    assert next(requests) == len(lines)
    assert not any(is_retried for *_, is_retried in lines)
    sizes, kinds = (0, len(broken)), ("new", "kept")
    assert answers(lines) == {
        f"Ended: after {size} bytes of the answer, {kind} connection" for size in sizes for kind in kinds
    }


def test_a_kept_connection_that_the_server_ends_between_requests_costs_nothing() -> None:
    def one(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer())

    with tcp_server(one) as port:
        assert answers(load_for_a_while(port)) == {"web"}


def test_no_request_follows_an_answer_that_announces_the_end() -> None:
    requests: Counter[int] = Counter()
    with tcp_server(serving(answer(field="Connection: close"), b"", counted=requests)) as port:
        assert answers(load_for_a_while(port)) == {"web"}


def test_an_answer_that_is_an_error_is_a_failure_with_its_text() -> None:
    with tcp_server(serving(answer("nobody\nis here", "503 Service Unavailable"))) as port:
        assert answers(load_for_a_while(port)) == {"HTTP 503: nobody is here"}


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nweb")

    with tcp_server(serve) as port:
        assert answers(load_for_a_while(port)) == {"web"}


def test_a_refused_connection_says_so() -> None:
    [text] = answers(load_for_a_while(free_port()))
    assert "ConnectionRefusedError" in text
    assert text.endswith(", while connecting")
