"""A mesh takes only marked requests; several people share a service."""

import json
import os
from functools import partial

import pytest

from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED, LOCAL, OTHER_LOCAL, PROBE_TIMEOUT_S, getter, until_reached
from tests.lab import Lab
from tests.lab.sessions.connect import USER
from tests.lab.sessions.http_clients import Visitors, ask
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered, until_asked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def test_a_mesh_takes_only_marked_requests(lab: Lab, visitors: Visitors) -> None:
    get = getter(lab, visitors.host)
    with serving(lab, LOCAL) as server, intercepting(lab, "mesh", "web", *EXPOSED, "--version", "foobar") as mesh:
        until_reached(lambda: get(VERSION="foobar"))
        assert get(version="foobar") == "local"
        assert get(VERSION="foo") == "web"
        assert get(baggage="a=b,ktpy-version=foobar;c=d") == "local"
        assert get(baggage="a=b,ktpy-version=foobars") == "web"
        until_asked(visitors, 100)
        mesh.leave()
        assert set(server.seen) == {"foobar", ""}
        assert server.seen[""] == 1  # the one with baggage
    assert visitors.answers() == {"web"}
    assert get(VERSION="foobar") == "web"


def test_a_version_is_made_from_the_user_name(lab: Lab, web: str) -> None:
    with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *EXPOSED) as mesh:
        assert "requests with the header VERSION: dev come here" in mesh.notices()
        until_reached(lambda: getter(lab, web)(VERSION="dev"))
        assert tab(lab, f"ktpy mesh web -n {NAMESPACE} --version ") == ["plain,dev"]
        assert "plain,3001:80" in tab(lab, f"ktpy exchange web -n {NAMESPACE} -e 3001:")
        version = lab.exec(["ktpy", "version", "-n", NAMESPACE, "-o", "json"], user=USER, check=True)
        found = json.loads(version.stdout)
        assert found["server"]["support"] == "supported"
        assert {(one["role"], one["difference"]) for one in found["agents"]} == {("gateway", None)}


def tab(lab: Lab, line: str) -> list[str]:
    """Return what ktpy answers fish."""
    asked = {"_KTPY_COMPLETE": "fish_complete", "COMP_WORDS": line, "COMP_CWORD": ""}
    return lab.exec(["ktpy"], user=USER, env=asked, check=True).stdout.splitlines()


def test_headers_by_regular_expression_and_below_a_path(lab: Lab, web: str) -> None:
    options = ("--header", "x-user=~^al", "--header", "x-team=shop", "--path-prefix", "/api")
    with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *EXPOSED, *options):
        netns = lab.layout.node_netns_path
        get = partial(ask, netns, web, timeout_s=PROBE_TIMEOUT_S)
        until_reached(lambda: get({"x-user": "al", "x-team": "shop"}, path="/api")[1].split()[0])
        for path, user, team, expected in (
            ("/api", "alice", "shop", "local"),
            ("/api/a", "alan", "shop", "local"),
            ("/apis", "alice", "shop", "web"),
            ("/", "alice", "shop", "web"),
            ("/api", "bob", "shop", "web"),
            ("/api", "alice", "till", "web"),
        ):
            assert get({"x-user": user, "x-team": team}, path=path)[1].split()[0] == expected


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
        until_reached(lambda: get(VERSION="r"), "roots")
        exchange.leave()
        until_answered(visitors, "web")
        assert get(VERSION="r") == "roots"
        mesh.leave()
    assert visitors.answers() == {"web", "devs"}


def test_what_somebody_else_has_is_refused_and_says_whose_it_is(lab: Lab, web: str) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED), intercepting(lab, "mesh", "web", *EXPOSED, "--version", "a"):
        again = attempt(lab, command=["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED], user="root")
        assert (again.exit_code, again.message) == (54, "Port 80 of service web is exchanged by dev@laptop already.")
        mesh = ["ktpy", "mesh", "web", "-n", NAMESPACE, *EXPOSED, "--version", "a"]
        assert "dev@laptop" in attempt(lab, command=mesh, user="root").message
        assert attempt(lab, command=mesh).hint == "That is you, on this laptop: ktpy leave web ends it."
