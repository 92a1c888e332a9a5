"""A gRPC service and its client, with the library that everybody uses; each is a process of its own.

    python -m tests.e2e.kit.grpc_program serve PORT
    python -m tests.e2e.kit.grpc_program call HOST:PORT        prints in JSON what came of each call
    python -m tests.e2e.kit.grpc_program converse HOST:PORT    says its input on one stream, prints the answers

Messages are plain bytes: what protocol buffers make of them is nothing that a gateway sees.
"""

import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "shop.Till"
DEADLINE_S = 30.0
SHORT_DEADLINE_S = 2.0
"""The call has to have come to the server by then."""
LARGE_BYTES = 3 << 20
"""Below the 4 MB that gRPC takes by default, above every window of HTTP/2."""
OPTIONS = [("grpc.enable_http_proxy", 0)]


class Till:
    def __init__(self) -> None:
        self._given_up = threading.Event()

    def echo(self, request: bytes, context: Any) -> bytes:
        context.send_initial_metadata((("x-first", dict(context.invocation_metadata()).get("x-customer", "")),))
        context.set_trailing_metadata((("x-last", str(len(request))),))
        return request

    def count(self, request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def total(self, requests: Iterable[bytes], context: Any) -> bytes:
        return b"%d" % sum(map(int, requests))

    def converse(self, requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def refuse(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-reason-bin", bytes(range(256))),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such customer: \u00e4ndr\u00e9")
        raise AssertionError

    def linger(self, request: bytes, context: Any) -> bytes:
        """Until the client gives up."""
        context.add_callback(self._given_up.set)
        self._given_up.wait()
        return b""

    def was_given_up(self, request: bytes, context: Any) -> bytes:
        return b"yes" if self._given_up.wait(DEADLINE_S) else b"no"

    def handlers(self) -> Any:
        unary = grpc.unary_unary_rpc_method_handler
        methods = {
            "Echo": unary(self.echo),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Total": grpc.stream_unary_rpc_method_handler(self.total),
            "Converse": grpc.stream_stream_rpc_method_handler(self.converse),
            "Refuse": unary(self.refuse),
            "Linger": unary(self.linger),
            "WasGivenUp": unary(self.was_given_up),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


def serve(port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(8), options=OPTIONS)
    server.add_generic_rpc_handlers((Till().handlers(),))
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


def call(address: str) -> dict[str, Any]:
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        calls = (_unary, _large, _server_streaming, _client_streaming, _both_ways, _refused, _given_up)
        return {one.__name__.removeprefix("_"): one(channel) for one in calls}


def converse(address: str) -> None:
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        lines = (line.strip().encode() for line in sys.stdin)
        for answer in _method(channel, "Converse", "stream_stream")(lines):
            print(answer.decode(), flush=True)


def _method(channel: Any, name: str, kind: str = "unary_unary") -> Any:
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


def _unary(channel: Any) -> list[str]:
    answer, how = _method(channel, "Echo").with_call(b"hi", metadata=(("x-customer", "al"),), timeout=DEADLINE_S)
    first, last = dict(how.initial_metadata()), dict(how.trailing_metadata())
    return [answer.decode(), first["x-first"], last["x-last"], how.code().name]


def _large(channel: Any) -> bool:
    message = bytes(range(256)) * (LARGE_BYTES // 256)
    return bool(_method(channel, "Echo")(message, timeout=DEADLINE_S) == message)


def _server_streaming(channel: Any) -> list[str]:
    return [one.decode() for one in _method(channel, "Count", "unary_stream")(b"5", timeout=DEADLINE_S)]


def _client_streaming(channel: Any) -> str:
    numbers = iter([b"1", b"2", b"3"])
    return str(_method(channel, "Total", "stream_unary")(numbers, timeout=DEADLINE_S).decode())


def _both_ways(channel: Any) -> list[str]:
    """Each word is sent when the answer to the one before is there: nothing may wait for the end of a stream."""
    heard: list[str] = []
    more = threading.Semaphore()

    def words() -> Iterator[bytes]:
        for word in (b"one", b"two", b"three"):
            more.acquire()
            yield word

    for answer in _method(channel, "Converse", "stream_stream")(words(), timeout=DEADLINE_S):
        heard.append(answer.decode())
        more.release()
    return heard


def _refused(channel: Any) -> list[Any]:
    try:
        _method(channel, "Refuse")(b"", timeout=DEADLINE_S)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        return [error.code().name, error.details(), trailers["x-reason-bin"] == bytes(range(256))]
    return []


def _given_up(channel: Any) -> list[str]:
    try:
        _method(channel, "Linger")(b"", timeout=SHORT_DEADLINE_S)
    except grpc.RpcError as error:
        return [error.code().name, _method(channel, "WasGivenUp")(b"", timeout=DEADLINE_S).decode()]
    return []


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["call", address]:
            print(json.dumps(call(address)))
        case ["converse", address]:
            converse(address)
        case _:
            sys.exit(__doc__)
