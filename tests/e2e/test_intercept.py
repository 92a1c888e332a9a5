"""exchange, mesh and preview as developers use them, while everybody else uses the service."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.attempts import attempt
from tests.e2e.foreground import Foreground
from tests.e2e.intercepts import Intercept, intercepting, ktpys_objects
from tests.e2e.laptop import Laptop
from tests.e2e.local_server import serving
from tests.e2e.shop import NAMESPACE, Shop
from tests.e2e.visitors import Visitors, ask, visiting
from tests.e2e.visits import SOON_S, until_answered
from tests.lab import Lab
from tests.lab.namespaces import stream_socket
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

LOCAL, OTHER_LOCAL = 3001, 3002
SLOWEST_S = 5.0
EXPIRED_S = 90.0
RETRIED_MAX = 4
"""Kept connections that end under a request: a laptop that is killed may take one request of each visitor along."""
EXPOSED = ("--expose", f"{LOCAL}:80")
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"


def essence(service: dict[str, Any]) -> str:
    """A Service without what the API server counts."""
    metadata = {
        key: value for key, value in service["metadata"].items() if key not in ("resourceVersion", "managedFields")
    }
    return json.dumps({"metadata": metadata, "spec": service["spec"]}, sort_keys=True)


@pytest.fixture
def web(lab: Lab, shop: Shop) -> Iterator[str]:
    """The address of service web, which must be afterwards what it was before, with nothing of ktpy's left."""
    before = essence(lab.api.get(f"{SERVICES}/web"))
    yield shop.service("web").ipv4
    assert essence(lab.api.get(f"{SERVICES}/web")) == before
    wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the last pod of ktpy's to end")


@pytest.fixture
def visitors(lab: Lab, web: str) -> Iterator[Visitors]:
    """They use service web throughout, and none of them may notice anything."""
    with visiting(lab.layout.node_netns_path, web) as visitors:
        yield visitors
    assert visitors.failures() == [], visitors.story()
    assert visitors.retried() <= RETRIED_MAX, visitors.story()
    assert visitors.slowest_s() < SLOWEST_S


def getter(lab: Lab, host: str) -> Callable[..., str]:
    """Who answers one request, by the first word."""

    def get(**headers: str) -> str:
        return ask(lab.layout.node_netns_path, host, headers)[1].split()[0]

    return get


def until_reached(get: Callable[[], str], expected: str = "local") -> None:
    """Wait until the nodes know where the service leads now: kube-proxy takes up to a second."""

    def is_reached() -> bool:
        try:
            return get() == expected
        except OSError:
            return False

    wait_until(is_reached, SOON_S, f"{expected} to answer")


# --- exchange


def test_an_exchange_takes_all_requests_and_gives_them_back(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL) as server:
        with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
            until_answered(visitors, "local")
            began_s = time.monotonic()
            time.sleep(2)
            assert visitors.answers(began_s) == {"local"}
            exchange.leave()
        until_answered(visitors, "web")
        assert server.seen[""] > 100


def test_first_local_request_within_three_seconds(lab: Lab, web: str) -> None:
    get, took_s = getter(lab, web), []
    with serving(lab, LOCAL):
        for _ in range(3):
            started_s = time.monotonic()
            exchange = Intercept(lab, "exchange", "web", "--namespace", NAMESPACE, *EXPOSED)
            wait_until(lambda: get() == "local", SOON_S, "the first local request")
            took_s.append(time.monotonic() - started_s)
            exchange.wait_ready()
            exchange.leave()
    print("exchange to first local request:", ", ".join(f"{one:.2f} s" for one in took_s))
    assert sorted(took_s)[1] <= 3.0


def test_the_local_port_may_come_and_go(lab: Lab, visitors: Visitors) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        assert f"Nothing answers on local port {LOCAL} yet" in exchange.notices()
        until_answered(visitors, "web")
        for _ in range(3):
            with serving(lab, LOCAL):
                until_answered(visitors, "local")
            until_answered(visitors, "web")
        exchange.wait_for(f"Local port {LOCAL} does not answer any more: requests for port 80 go to the original pods.")
        exchange.wait_for("went to the original pods meanwhile")
        exchange.leave()


def test_requests_fail_while_the_local_port_is_down_if_that_is_wanted(lab: Lab, web: str) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED, "--when-local-down", "fail"):
        netns = lab.layout.node_netns_path
        wait_until(lambda: ask(netns, web)[0] == 503, SOON_S, "the gateway to answer")
        assert "dev@laptop" in ask(netns, web)[1]


def test_counted_and_shown(lab: Lab, laptop: Laptop, web: str) -> None:
    get = getter(lab, web)
    with serving(lab, LOCAL), intercepting(lab, "exchange", "deployment/web", *EXPOSED) as exchange:
        until_reached(get)
        assert [get() for _ in range(6)] == ["local"] * 6

        def ports() -> dict[str, Any]:
            [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
            assert (session["kind"], session["target"], session["namespace"]) == ("exchange", "web", NAMESPACE)
            [port] = session["ports"]
            return dict(port)

        wait_until(lambda: ports()["requests"] == 7, SOON_S, "seven requests counted")
        assert ports() == {
            "port": 80,
            "local_port": LOCAL,
            "is_local_up": True,
            "is_up": True,
            "requests": 7,
            "fallbacks": 0,
        }
        exchange.wait_for('"requests": 7')
        assert re.search(r"port 80 +to local port 3001 +\(up\): 7 requests", laptop.output("ktpy", "status"))
        listed = laptop.output("ktpy", "list", "-n", NAMESPACE)
        assert re.search(r"^web .* dev@laptop: exchange of port 80$", listed, re.MULTILINE)
        assert "ktpy-origin" not in listed
        services = json.loads(laptop.output("ktpy", "list", "-n", NAMESPACE, "-o", "json"))["services"]
        [intercept] = next(one for one in services if one["name"] == "web")["intercepts"]
        assert intercept["is_live"]
        assert intercept["owner"] == "dev@laptop"


def test_plain_tcp_and_the_udp_port_beside_it(lab: Lab, shop: Shop) -> None:
    """Port 8 of echo is exchanged; ports 7, TCP and UDP, keep reaching the original pod."""
    host, netns = shop.service("echo").ipv4, lab.layout.node_netns_path
    with serving(lab, LOCAL), intercepting(lab, "exchange", "echo", "--expose", f"{LOCAL}:digest"):
        until_reached(lambda: ask(netns, host, port=8, timeout_s=1.0)[1].strip())
        for family in ("tcp", "udp"):
            probe = ["python3", "-c", ECHO, family, host]
            assert lab.node(*probe).strip() == "hello"


ECHO = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as echo:
    echo.settimeout(5)
    echo.connect((sys.argv[2], 7))
    echo.send(b"hello")
    print(echo.recv(100).decode())
"""


# --- mesh, and several people


def test_a_mesh_takes_only_marked_requests(lab: Lab, visitors: Visitors) -> None:
    get = getter(lab, visitors.host)
    with serving(lab, LOCAL) as server, intercepting(lab, "mesh", "web", *EXPOSED, "--version", "foobar") as mesh:
        until_reached(lambda: get(VERSION="foobar"))
        assert get(version="foobar") == "local"
        assert get(VERSION="foo") == "web"
        assert get(baggage="a=b,ktpy-version=foobar;c=d") == "local"
        assert get(baggage="a=b,ktpy-version=foobars") == "web"
        time.sleep(1)
        mesh.leave()
        assert set(server.seen) == {"foobar", ""}
        assert server.seen[""] == 1  # the one with baggage
    assert visitors.answers() == {"web"}
    assert get(VERSION="foobar") == "web"


def test_a_version_is_made_from_the_user_name(lab: Lab, web: str) -> None:
    with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *EXPOSED) as mesh:
        assert "requests with the header VERSION: dev come here" in mesh.notices()
        until_reached(lambda: getter(lab, web)(VERSION="dev"))


def test_headers_by_regular_expression_and_below_a_path(lab: Lab, web: str) -> None:
    options = ("--header", "x-user=~^al", "--header", "x-team=shop", "--path-prefix", "/api")
    with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *EXPOSED, *options):
        netns = lab.layout.node_netns_path
        until_reached(lambda: ask(netns, web, {"x-user": "al", "x-team": "shop"}, path="/api")[1].split()[0])
        for path, user, team, expected in (
            ("/api", "alice", "shop", "local"),
            ("/api/a", "alan", "shop", "local"),
            ("/apis", "alice", "shop", "web"),
            ("/", "alice", "shop", "web"),
            ("/api", "bob", "shop", "web"),
            ("/api", "alice", "till", "web"),
        ):
            assert ask(netns, web, {"x-user": user, "x-team": team}, path=path)[1].split()[0] == expected


def test_two_people_on_one_service(lab: Lab, visitors: Visitors) -> None:
    """dev exchanges, root has a mesh; each has his own, and whoever leaves first takes nothing from the other."""
    get = getter(lab, visitors.host)
    mesh_options = ("--expose", f"{OTHER_LOCAL}:80", "--version", "r")
    with (
        serving(lab, LOCAL, "devs"),
        serving(lab, OTHER_LOCAL, "roots"),
        intercepting(lab, "exchange", "web", *EXPOSED) as exchange,
        intercepting(lab, "mesh", "web", *mesh_options, user="root") as mesh,
    ):
        until_answered(visitors, "devs")
        assert get(VERSION="r") == "roots"
        exchange.leave()
        until_answered(visitors, "web")
        assert get(VERSION="r") == "roots"
        mesh.leave()
    assert visitors.answers() == {"web", "devs"}


def test_what_somebody_else_has_is_refused_and_says_whose_it_is(lab: Lab, web: str) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED), intercepting(lab, "mesh", "web", *EXPOSED, "--version", "a"):
        again = attempt(lab, command=["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED], user="root")
        assert (again.exit_code, again.message) == (54, "port 80 of service web is exchanged by dev@laptop already.")
        mesh = ["ktpy", "mesh", "web", "-n", NAMESPACE, *EXPOSED, "--version", "a"]
        assert "dev@laptop" in attempt(lab, command=mesh, user="root").message


# --- ends, foreseen and not


@pytest.mark.parametrize("kind", ["exchange", "mesh"])
def test_killed(kind: str, lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, kind, "web", *EXPOSED) as killed:
        until_answered(visitors, "local" if kind == "exchange" else "web")
        killed.kill()
        assert until_answered(visitors, "web") < SLOWEST_S
        time.sleep(2)
        assert "would be undone" in laptop.output("ktpy", "clean", "--dry-run", "-n", NAMESPACE)
        assert f"its {kind} of web in namespace {NAMESPACE} is undone" in laptop.output(
            "ktpy", "clean", "-n", NAMESPACE
        )
        assert "Nothing to clean." in laptop.output("ktpy", "clean", "-n", NAMESPACE)


def test_the_next_command_undoes_what_a_killed_one_left(lab: Lab, laptop: Laptop, web: str) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED) as killed:
        killed.kill()
    assert "is undone" in laptop.run(["ktpy", "list", "-n", NAMESPACE]).stderr


def test_nobody_else_cleans_up_after_the_living(lab: Lab, laptop: Laptop, web: str) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
        for user in ("root", "dev"):
            assert "Nothing to clean." in lab.exec(["ktpy", "clean", "-n", NAMESPACE], user=user, check=True).stdout
        until_reached(getter(lab, web))
        refused = attempt(lab, command=["ktpy", "recover", "web", "-n", NAMESPACE])
        assert (refused.exit_code, "dev@laptop" in refused.message) == (58, True)


def test_evicted(lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    """Somebody takes the service back in earnest: then it is his, and the session says what happened."""
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        recover = ["ktpy", "recover", "web", "-n", NAMESPACE, "--evict"]
        assert "selects app=web again" in lab.exec(recover, user="root", check=True).stdout
        assert exchange.wait_ended() == 57
        until_answered(visitors, "web")


def test_interrupted(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        exchange.process.send_signal(signal.SIGINT)
        assert exchange.wait_ended() == 0
        assert '"message": "Left; web is as before."' in exchange.output


def test_the_cable_is_out_for_a_while(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
        until_answered(visitors, "local")
        lab.cut(8.0)
        until_answered(visitors, "local", 20.0)
    assert "web" in visitors.answers()


def test_a_laptop_that_slept_comes_back(lab: Lab, visitors: Visitors) -> None:
    """Longer than its Lease, so that others have taken it out of the cluster meanwhile."""
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        [session] = {event["status"]["session"] for event in exchange.events("ready")}
        os.killpg(exchange.process.pid, signal.SIGSTOP)
        until_answered(visitors, "web")
        clean = ["ktpy", "clean", "-n", NAMESPACE]
        wait_until(
            lambda: session in lab.exec(clean, user="root", check=True).stdout, EXPIRED_S, "others to take it for dead"
        )
        wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the gateway to be gone")
        os.killpg(exchange.process.pid, signal.SIGCONT)
        until_answered(visitors, "local", 30.0)
        assert "it takes part again" in exchange.notices()
        exchange.leave()


def test_the_gateways_pod_is_deleted(lab: Lab, web: str) -> None:
    get = getter(lab, web)
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
        lab.kubectl("-n", NAMESPACE, "delete", "pod", "-l", "ktpy.dev/gateway=web", "--wait=true", timeout_s=60)
        wait_until(lambda: get() == "local", 20.0, "the new pod to lead to the laptop")


def test_a_command_of_ones_own(lab: Lab, web: str) -> None:
    command = ["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--", "sh", "-c"]
    done = lab.exec([*command, "echo to standard output; exit 7"], user="dev")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "to standard output\n"
    assert "exchanged web" in done.stderr


def test_the_command_serves_the_requests(lab: Lab, web: str) -> None:
    server = f"python3 -m http.server --bind 127.0.0.1 {LOCAL}"
    foreground = Foreground(
        lab, ["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--", "sh", "-c", f"cd /etc && exec {server}"]
    )
    wait_until(lambda: "Directory" in ask(lab.layout.node_netns_path, web)[1], 20.0, "the command's answer")
    foreground.process.send_signal(signal.SIGTERM)
    assert foreground.wait_ended() == 0
    assert getter(lab, web)() == "web"


def test_in_the_background(lab: Lab, laptop: Laptop, web: str) -> None:
    with serving(lab, LOCAL):
        said = laptop.output("ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--detach")
        assert "`ktpy leave web` ends it" in said
        until_reached(getter(lab, web))
        assert laptop.run(["ktpy", "quit"]).returncode == 36  # that is for connect
        assert laptop.output("ktpy", "leave", "--all") == "Left: exchange of web.\n"
    gone = laptop.run(["ktpy", "leave", "web"])
    assert (gone.returncode, "no intercept of web" in gone.stderr) == (60, True)


# --- preview


def accepts(netns: Path, host: str, port: int) -> bool:
    try:
        stream_socket(netns, (host, port), 1.0).close()
    except OSError:
        return False
    return True


def test_a_preview(lab: Lab, laptop: Laptop) -> None:
    netns = lab.layout.node_netns_path
    with intercepting(lab, "preview", "pay", "--expose", f"{LOCAL}:8080") as preview:
        address = lab.api.get(f"{SERVICES}/pay")["spec"]["clusterIP"]
        wait_until(lambda: accepts(netns, address, 8080), SOON_S, "the new service to be known")
        status, body = ask(netns, address, port=8080)
        assert (status, "dev@laptop" in body, "away" in body) == (503, True, True)
        with serving(lab, LOCAL):
            wait_until(lambda: ask(netns, address, port=8080)[1] == "local\n", SOON_S, "the preview")
            assert "pay (preview)" in laptop.output("ktpy", "list", "-n", NAMESPACE)
            taken = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED], user="root")
            assert taken.exit_code == 55
        preview.leave()
    assert lab.api.get(f"{SERVICES}/pay") is None
    wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the preview to be gone")


# --- refusals


REFUSALS = {
    "absent service": (["exchange", "wbe", *EXPOSED], 50, "There is no service wbe", "web"),
    "absent port": (["exchange", "web", "--expose", "3001:81"], 53, "no port 81", "80 (http)"),
    "ambiguous port": (["exchange", "echo", "--expose", "3001"], 53, "does not say which port", "7 (echo-tcp)"),
    "ExternalName": (["exchange", "supplier", *EXPOSED], 52, "supplier.example.org", ""),
    "StatefulSet": (["exchange", "store", "--expose", "3001:8080"], 52, "headless", ""),
    "UDP": (["exchange", "echo", "--expose", "3001:echo-udp"], 52, "UDP port is not supported yet", ""),
    "mesh of TCP": (["mesh", "echo", "--expose", "3001:7"], 52, "is HTTP", "--protocol http"),
    "preview of a service": (["preview", "web", *EXPOSED], 55, "exists", "ktpy exchange web"),
    "preview name": (["preview", "Web", *EXPOSED], 52, "cannot be the name", ""),
    "absent command": (["exchange", "web", *EXPOSED, "--", "no-such-command"], 61, "no-such-command", ""),
    "absent namespace": (["exchange", "web", *EXPOSED, "-n", "nowhere"], 50, "nowhere", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_with_nothing_changed(name: str, lab: Lab, web: str) -> None:
    arguments, exit_code, message, hint = REFUSALS[name]
    refused = attempt(lab, command=["ktpy", arguments[0], "-n", NAMESPACE, *arguments[1:]])
    assert (refused.exit_code, message in refused.message, hint in refused.hint) == (exit_code, True, True), refused
    assert ktpys_objects(lab, NAMESPACE) == []
