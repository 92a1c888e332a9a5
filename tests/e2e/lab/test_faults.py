"""Faults on request, and back."""

import pytest

from tests.e2e.lab.labs import NAME, run_verb, seconds_to_answer
from tests.lab import Lab
from tests.lab.errors import LabError
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.processes import wait_until

LINK = ["cat", "/sys/class/net/eth0/carrier"]


def test_latency_delays_and_goes_again(lab: Lab) -> None:
    """An answer over a new TLS connection takes three round trips."""
    try:
        lab.set_latency(100)
        assert 0.3 <= seconds_to_answer(lab) < 0.6
        assert lab.status()["round_trip_ms"] == 100
    finally:
        lab.set_latency(0)
    assert seconds_to_answer(lab) < 0.3


def test_a_bad_line_loses_packets_each_way(lab: Lab) -> None:
    """Of 200 requests and answers some 19 % are lost with one or the other; 40 +- 6, so that 15 and 70 are far off."""
    try:
        lab.set_latency(0, lost_percent=10)
        output = lab.exec(["ping", "-q", "-c", "200", "-i", "0.002", "-W", "3", NODE_IPV4]).stdout
    finally:
        lab.set_latency(0)
    received = int(output.split(" received")[0].split()[-1])
    assert 130 <= received <= 185, output


def test_an_impossible_latency_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError):
        lab.set_latency(-1)


def test_a_cut_is_silence_and_when_it_is_ended_early_all_is_well(lab: Lab) -> None:
    cut = run_verb(NAME, "cut", "600")
    wait_until(lambda: lab.exec(LINK).stdout.strip() == "0", 60, "the laptop to lose its carrier")
    silent = lab.exec(["curl", "--silent", "--insecure", "--max-time", "0.5", f"https://{NODE_IPV4}:{API_PORT}/livez"])
    assert silent.returncode == 28  # timed out: nobody refused
    cut.terminate()
    cut.communicate(timeout=60)
    assert lab.exec(LINK).stdout.strip() == "1"
    wait_until(lab.api.is_ready, 60, "the API server to answer again")
    assert lab.exec(["getent", "ahostsv4", "outside.example"]).returncode == 0
    assert lab.exec(["curl", "-sk", f"https://[fd99::1]:{API_PORT}/livez"]).stdout == "ok"


def test_a_cut_ends_by_itself(lab: Lab) -> None:
    cut = run_verb(NAME, "cut", "1")
    cut.communicate(timeout=60)
    assert cut.returncode == 0
    assert lab.exec(LINK).stdout.strip() == "1"


def test_the_api_server_comes_back_after_its_restart(lab: Lab) -> None:
    lab.restart_api()
    assert lab.api.is_ready()
    assert "kube-apiserver ended" in (lab.layout.log_dir / "node.log").read_text()
