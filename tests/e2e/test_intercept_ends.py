"""How an intercept ends, foreseen and not, while everybody else uses the service."""

import os
import signal

import pytest

from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED, LOCAL, SLOWEST_S, getter, until_reached
from tests.lab import Lab
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import Visitors
from tests.lab.sessions.intercept import intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered, until_asked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


@pytest.mark.parametrize("kind", ["exchange", "mesh"])
def test_killed(kind: str, lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, kind, "web", *EXPOSED) as killed:
        until_answered(visitors, "local" if kind == "exchange" else "web")
        killed.kill()
        assert until_answered(visitors, "web") < SLOWEST_S
        until_asked(visitors, 200)
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
        until_answered(visitors, "local")
    assert "web" in visitors.answers()


def test_the_api_server_is_restarted(lab: Lab, visitors: Visitors) -> None:
    """Routes come back, and so do the watches: what others do is noticed afterwards, too."""
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        lab.restart_api()
        until_answered(visitors, "local")
        lab.kubectl("-n", NAMESPACE, "delete", "service", "web-ktpy-origin")
        exchange.wait_for("Somebody has deleted service web-ktpy-origin; ktpy makes it anew.")
        exchange.leave()


def test_a_command_of_ones_own(lab: Lab, web: str) -> None:
    command = ["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--", "sh", "-c"]
    done = lab.exec([*command, "echo to standard output; exit 7"], user="dev")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "to standard output\n"
    assert "exchange of web in" in done.stderr


def test_the_command_serves_the_requests(lab: Lab, web: str) -> None:
    server = f"python3 -m http.server --bind 127.0.0.1 {LOCAL}"
    foreground = Foreground(
        lab, ["ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--", "sh", "-c", f"cd /etc && exec {server}"]
    )
    until_reached(getter(lab, web), "<!DOCTYPE")  # of a list of files
    foreground.process.send_signal(signal.SIGTERM)
    assert foreground.wait_ended() == 128 + signal.SIGTERM
    assert getter(lab, web)() == "web"


def test_in_the_background(lab: Lab, laptop: Laptop, web: str) -> None:
    with serving(lab, LOCAL):
        said = laptop.output("ktpy", "exchange", "web", "-n", NAMESPACE, *EXPOSED, "--detach")
        assert "`ktpy leave web` ends it" in said
        until_reached(getter(lab, web))
        assert "nothing to quit" in laptop.output("ktpy", "quit")  # that is for connect
        assert laptop.output("ktpy", "leave", "--all") == "Left: exchange of web.\n"
    gone = laptop.run(["ktpy", "leave", "web"])
    assert (gone.returncode, "no intercept or forward of web" in gone.stderr) == (60, True)


def test_a_limit_of_time_ends_the_command_and_gives_the_service_back(lab: Lab, visitors: Visitors) -> None:
    options = ["-n", NAMESPACE, *EXPOSED, "--for", "6s"]
    done = lab.exec(["ktpy", "exchange", "web", *options, "--", "sleep", "60"], user="dev", timeout_s=60)
    assert done.returncode == 124, done.stderr
    assert "6s of --for are over. " in done.stderr
    assert [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")] == []
