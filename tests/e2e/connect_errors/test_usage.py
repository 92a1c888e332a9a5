"""Wrong usage, and how much of an error is shown."""

from collections.abc import Sequence

import pytest

from tests.e2e.connect_errors.failing import NAMESPACE, failing
from tests.e2e.kit.failed_command import Kubeconfigs
from tests.lab import Lab
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.sessions.connect import connecting


@pytest.mark.parametrize(
    "options",
    [
        ["--include", "10.96.0.0/33"],
        ["--exclude", "somewhere"],
        ["--pod-timeout", "0"],
        ["--pod-timeout", "soon"],
        ["--no-such-option"],
        ["argument"],
    ],
    ids=" ".join,
)
def test_wrong_usage(lab: Lab, options: Sequence[str]) -> None:
    done = lab.exec(["sudo", "ktpy", "connect", *options], user="dev")
    assert done.returncode == 2
    assert "Usage: ktpy connect" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_variable_is_checked_like_its_option(lab: Lab) -> None:
    done = lab.exec(["ktpy", "connect"], user="dev", env={"KTPY_INCLUDE": "somewhere"})
    assert done.returncode == 2
    assert "somewhere" in done.stderr


@pytest.mark.parametrize("verbosity", [[], ["-v"], ["-vv"]], ids=["", "-v", "-vv"])
def test_a_traceback_is_for_those_who_ask(lab: Lab, kubeconfigs: Kubeconfigs, verbosity: list[str]) -> None:
    path = kubeconfigs.changed(cluster={"server": f"https://{NODE_IPV4}:1"})
    done = lab.exec(["sudo", "ktpy", "connect", *verbosity, "--kubeconfig", str(path)], user="dev")
    assert done.returncode == 12
    assert ("Traceback" in done.stderr) == ("-vv" in verbosity)


def test_detached_it_fails_as_in_the_foreground(lab: Lab) -> None:
    failed = failing(lab, "--detach", "--image", "Not An Image")
    assert failed.exit_code == 21


def test_a_session_is_not_harmed_by_another_that_fails(lab: Lab, kubeconfigs: Kubeconfigs) -> None:
    with connecting(lab, "--namespace", NAMESPACE) as session:
        path = kubeconfigs.changed(cluster={"server": f"https://localhost:{API_PORT}"})
        assert failing(lab, kubeconfig=path).exit_code == 12
        assert session.status()["state"] == "connected"
        session.quit()
