"""The rendered configuration, judged by the real HAProxy, which says who would get a request."""

import random
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ktpy_agent.haproxy_config import LEAST_MAPPED, Config, Machine, quote, render
from ktpy_agent.routes import Route

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Header, Match
from tests.component.agent.gateway_pod import get, web_server
from tests.kit.ports import free_port
from tests.kit.waiting import eventually

HTTP = Port(80, "http", 8080, "TCP", http=True)
REDIS = Port(6379, "", 6379, "TCP", http=False)
DNS = Port(53, "dns", 53, "UDP", http=False)
MACHINE = Machine("/run/ktpy", 2223, threads=2, max_connections=9000, has_ipv6=True)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets: HAProxy takes 97 characters for one, and pytest's own may have more."""
    with TemporaryDirectory() as path:
        yield Path(path)


needs_haproxy = pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy")

# What means something in HAProxy's language, at its beginning, inside or at its end.
HOSTILE = [
    "}",
    "{",
    "a } b",
    "'",
    "''",
    "it's",
    '"',
    'a "b" c',
    "\\",
    "a\\",
    "\\'",
    "\\n",
    "\\x41",
    "#",
    "a # b",
    "$HOME",
    "${HOME}",
    "%[src]",
    "-f",
    "-i",
    "--",
    "-m",
    "or",
    "||",
    "!",
    "unless",
    "a,b",
    "(",
    ")",
    "a;b",
]


def match(*headers: Header, path: str | None = None, baggage: dict[str, str] | None = None) -> Match:
    return Match(headers, path, tuple((baggage or {}).items()))


def exact(name: str, text: str) -> Header:
    return Header(name, text, is_regex=False)


def route(serial: int, wanted: Match | None, *, owner: str = "", port: Port = HTTP, fails: bool = True) -> Route:
    return Route(serial, f"s{serial}", owner or f"owner{serial}", port, wanted, fails, token="f00")


@pytest.mark.parametrize("text", ["plain", *HOSTILE])
def test_a_quoted_word_holds_no_line_break_and_ends_where_it_should(text: str) -> None:
    """The rules of a shell for single quotes are the same."""
    done = subprocess.run(["sh", "-c", f"printf %s {quote(text)}"], capture_output=True, text=True, check=True)
    assert done.stdout == text


@needs_haproxy
@pytest.mark.parametrize("origin", ["10.96.1.2", "fd00::1", None])
def test_haproxy_takes_every_kind_of_route(short_path: Path, origin: str | None) -> None:
    spec = GatewaySpec("web", origin, (HTTP, REDIS, DNS))
    routes = (
        route(1, None),
        route(2, None, port=REDIS, fails=False),
        route(3, match(Header("a", "^(x|y)$", is_regex=True), path="/")),
        route(4, match(baggage={"k": "\u00e9" * 64})),
        *(route(number, match(exact("a", text)), owner=text) for number, text in enumerate(HOSTILE, 5)),
        route(90, None)._replace(copied_percent=100),
        route(91, match(exact("a", "it's } me"), path="/", baggage={"k": "v"}))._replace(copied_percent=1),
    )
    config = written(short_path, render(MACHINE._replace(run_dir=str(short_path)), spec, routes, {80: "it's } me"}, 1))
    done = subprocess.run(["haproxy", "-c", "-f", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def written(directory: Path, config: Config) -> Path:
    """The configuration's file, with its maps."""
    path = directory / "haproxy.cfg"
    for name, text in {**config.maps, str(path): config.text}.items():
        Path(name).write_text(text)
    return path


@contextmanager
def running(directory: Path, spec: GatewaySpec, *routes: Route) -> Iterator[None]:
    """The real HAProxy with what is rendered, ready."""
    machine = MACHINE._replace(run_dir=str(directory), ready_port=free_port(), max_connections=500)
    config = written(directory, render(machine, spec, routes, {}, 1))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(config)])

    def is_ready() -> bool:
        try:
            return get(machine.ready_port, path="/ready").status == 200
        except OSError:
            return False

    try:
        assert eventually(is_ready)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def deciding(directory: Path, *routes: Route) -> Iterator[int]:
    """HAProxy for a preview whose laptops are all away: each refusal names whose request it would have been."""
    port = HTTP._replace(bind=free_port())
    with running(directory, GatewaySpec("web", None, (port,)), *(each._replace(port=port) for each in routes)):
        yield port.bind


def owner_of(bind: int, path: str = "/", **headers: str) -> str | None:
    """Whose laptop the request would have gone to."""
    answer = get(bind, path=path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status == 503
    if answer.body.startswith("preview web: no laptop is connected"):
        return None
    return answer.body.partition(" is served by ")[2].partition("'s laptop")[0]


@needs_haproxy
def test_hostile_text_matches_itself_and_nothing_else(tmp_path: Path) -> None:
    routes = [route(number, match(exact("x-user", text))) for number, text in enumerate(HOSTILE, 1)]
    with deciding(tmp_path, *routes) as bind:
        found = {text: owner_of(bind, x_user=text) for text in HOSTILE}
        assert found == {text: f"owner{number}" for number, text in enumerate(HOSTILE, 1)}
        assert owner_of(bind, x_user="other") is None
        assert owner_of(bind) is None


@needs_haproxy
def test_hostile_text_in_a_path_and_an_owner(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if " " not in text and "#" not in text]
    routes = [route(number, match(path=f"/{number}/{text}"), owner=f"<{text}>") for number, text in enumerate(texts, 1)]
    with deciding(tmp_path, *routes) as bind:
        found = [owner_of(bind, f"/{number}/{text}") for number, text in enumerate(texts, 1)]
        assert found == [f"<{text}>" for text in texts]


@needs_haproxy
def test_headers(tmp_path: Path) -> None:
    with deciding(
        tmp_path,
        route(1, match(exact("version", "foobar"))),
        route(2, match(exact("a", "1"), exact("b", "2"))),
        route(3, match(Header("user", "^al(ice)?$", is_regex=True))),
        route(4, match(Header("user", "bo+b", is_regex=True))),
    ) as bind:
        assert owner_of(bind, VERSION="foobar") == "owner1"
        assert owner_of(bind, version=" foobar ") == "owner1"
        assert owner_of(bind, version="Foobar") is None
        assert owner_of(bind, version="foobar, x") is None
        assert owner_of(bind, a="1") is None
        assert owner_of(bind, a="1", b="2") == "owner2"
        assert owner_of(bind, user="alice") == "owner3"
        assert owner_of(bind, user="alicex") is None
        assert owner_of(bind, user="xbooobx") == "owner4"  # a regex is searched for, as grep does


@needs_haproxy
def test_paths_match_by_whole_elements(tmp_path: Path) -> None:
    with deciding(tmp_path, route(1, match(path="/api")), route(2, match(path="/v2/"))) as bind:
        assert owner_of(bind, "/api") == "owner1"
        assert owner_of(bind, "/api?q=1") == "owner1"
        assert owner_of(bind, "/api/x") == "owner1"
        assert owner_of(bind, "/apix") is None
        assert owner_of(bind, "/x/api") is None
        assert owner_of(bind, "/v2") == "owner2"
        assert owner_of(bind, "/v2/x") == "owner2"


@needs_haproxy
def test_a_path_of_the_root_is_every_path(tmp_path: Path) -> None:
    with deciding(tmp_path, route(1, match(exact("a", "1"), path="/"))) as bind:
        assert owner_of(bind, "/x", a="1") == "owner1"
        assert owner_of(bind, "/x") is None


@needs_haproxy
def test_baggage_is_an_alternative_to_the_headers_and_not_to_the_path(tmp_path: Path) -> None:
    wanted = match(exact("version", "foo"), path="/api", baggage={"ktpy-version": "foo"})
    with deciding(tmp_path, route(1, wanted)) as bind:
        assert owner_of(bind, "/api", version="foo") == "owner1"
        assert owner_of(bind, "/api", baggage="a=1, ktpy-version=fo%6f;p") == "owner1"
        assert owner_of(bind, "/api", baggage="ktpy-version=foo2") is None
        assert owner_of(bind, "/", version="foo", baggage="ktpy-version=foo") is None


@needs_haproxy
def test_matches_go_before_an_exchange_and_older_matches_before_younger(tmp_path: Path) -> None:
    with deciding(tmp_path, route(1, None), route(2, match(exact("a", "1"))), route(3, match(path="/x"))) as bind:
        assert owner_of(bind, "/x", a="1") == "owner2"
        assert owner_of(bind, "/x") == "owner3"
        assert owner_of(bind, "/") == "owner1"


@needs_haproxy
def test_a_map_chooses_as_the_rules_do_for_which_it_stands(short_path: Path) -> None:
    """The rules are asked at the front end to which a map leaves what it may not decide."""
    chance = random.Random(20)
    routes: list[Match | None] = [None]

    def run(name: str, *values: str) -> None:
        for value in values:
            with_baggage = chance.random() < 0.5
            routes.append(match(exact(name, value), baggage={"ktpy-version": value} if with_baggage else None))

    run("version", *HOSTILE, *map(str, range(LEAST_MAPPED)))
    routes += [match(path="/a"), match(exact("version", "17"), exact("x-user", "5"))]
    run("x-user", *(str(chance.randrange(20)) for _ in range(2 * LEAST_MAPPED)))
    run("version", *map(str, range(LEAST_MAPPED // 2)), *(f"{number} #" for number in range(8)))
    run("version", *map(str, range(10, 10 + LEAST_MAPPED)))
    values = ["", " 3 ", "3,4", "other", "#", "5 #", *HOSTILE, *map(str, range(28))]
    baggage = [
        "a=1",
        "ktpy-version=%33;p, b=2",
        "ktpy-version=x, ktpy-version=4",
        "ktpy-versions=3",
        "k=ktpy-version=5",
    ]

    def request() -> bytes:
        fields = [
            *(f"Version: {chance.choice(values)}" for _ in range(chance.choice([0, 1, 1, 1, 2, 3]))),
            *(f"x-user: {chance.choice(values)}" for _ in range(chance.choice([0, 0, 1, 2]))),
            *(f"Baggage: {chance.choice(baggage)}" for _ in range(chance.choice([0, 0, 0, 1, 2]))),
        ]
        lines = [f"GET /{chance.choice('ab')} HTTP/1.1", "Host: web", *chance.sample(fields, len(fields))]
        return "\r\n".join([*lines, "", ""]).encode()

    numbered = [route(number, wanted) for number, wanted in enumerate(routes, 1)]
    with deciding(short_path, *numbered) as bind, ExitStack() as sockets:
        mapped = sockets.enter_context(socket.create_connection(("127.0.0.1", bind)))
        ruled = sockets.enter_context(socket.socket(socket.AF_UNIX))
        ruled.connect(str(short_path / "rules80.sock"))
        seen = Counter[str]()
        for _ in range(1500):
            head = request()
            chosen, expected = (asked(sock, head) for sock in (mapped, ruled))
            assert chosen == expected, head
            seen[chosen] += 1
    assert len(seen) > 60


def asked(sock: socket.socket, head: bytes) -> str:
    """Whose the request is, on a connection that is kept."""
    sock.sendall(head)
    answer = HTTPResponse(sock)
    answer.begin()
    return answer.read().decode()


@needs_haproxy
def test_a_regex_that_explodes_costs_others_nothing_much(tmp_path: Path) -> None:
    """PCRE gives up at its match limit; until then one thread is busy."""
    with deciding(tmp_path, route(1, match(Header("a", "^(a+)+$", is_regex=True)))) as bind:
        done = threading.Event()

        def attack() -> None:
            assert owner_of(bind, a="a" * 4000 + "!") is None
            done.set()

        thread = threading.Thread(target=attack)
        thread.start()
        assert owner_of(bind) is None
        thread.join()
        assert done.is_set()


@needs_haproxy
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_laptop_that_fails_a_request_several_times_leaves_it_to_the_original_pods(
    short_path: Path, times: int
) -> None:
    with web_server("origin") as origin, ExitStack() as sockets:
        (short_path / "routes").mkdir()
        port = HTTP._replace(port=origin, bind=free_port())
        laptop = route(1, None, port=port, fails=False)
        sshd, alive = (
            sockets.enter_context(listener(short_path / f"routes/{laptop.stem}{end}")) for end in (".sock", ".alive")
        )
        with running(short_path, GatewaySpec("web", "127.0.0.1", (port,)), laptop), ThreadPoolExecutor() as client:
            asked = client.submit(get, port.bind)
            for _ in range(times):
                connection, _ = sshd.accept()
                connection.recv(65536)
                connection.close()
            sshd.close()
            assert asked.result() == (200, "origin")
        assert alive.fileno() != -1  # HAProxy itself found out


def listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock
