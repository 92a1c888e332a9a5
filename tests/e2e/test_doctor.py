"""`ktpy doctor`, on a laptop and a cluster where all is well, and for a user who may nothing."""

import json
import os
import re
from typing import Any

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def examined(laptop: Laptop, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by subject."""
    done = laptop.run(["ktpy", "doctor", "-n", NAMESPACE, "--output", "json", *options])
    return done.returncode, {one["subject"]: one for one in json.loads(done.stdout)["findings"]}


def test_where_all_is_well(lab: Lab, laptop: Laptop, shop: Shop) -> None:
    code, found = examined(laptop, "--rbac", "connect", "--rbac", "dev", "--pod")
    assert (code, [one for one in found.values() if one["state"] != "ok"]) == (0, [])
    assert "started after " in found["pod"]["seen"]
    assert found["tunnel"]["seen"].endswith(" MB/s go both ways at once.")
    assert lab.kubectl("-n", NAMESPACE, "get", "jobs", "-o", "name") == ""
    assert "Kubernetes v1." in found["API server"]["seen"]
    assert found["resolver"]["seen"].startswith("resolv.conf, which asks ")


def test_who_may_nothing_is_told_which_rules_are_missing(lab: Lab, laptop: Laptop) -> None:
    options = ["--kubeconfig", str(lab.kubeconfig("nobody@example.org"))]
    code, found = examined(laptop, *options)
    assert (code, found["rights for connect"]["state"]) == (0, "warning")
    unseen = ("admission", "namespace", "quota", "policies", "ranges", "leftovers")
    assert {found[subject]["state"] for subject in unseen} == {"not made"}
    code, found = examined(laptop, *options, "--rbac", "connect")
    assert (code, found["rights for connect"]["state"]) == (64, "failed")
    assert found["rights for connect"]["mend"] == f"ktpy rbac {NAMESPACE} nobody@example.org | kubectl apply -f -"


def test_a_vpn_that_overlaps_is_told_by_its_name(lab: Lab, laptop: Laptop) -> None:
    set_up = "ip tuntap add corp mode tun && ip link set corp up mtu 1200 && ip route add 10.96.8.0/24 dev corp"
    lab.exec(["sh", "-c", set_up], check=True)
    try:
        code, found = examined(laptop)
    finally:
        lab.exec(["ip", "link", "del", "corp"], check=True)
    assert (code, found["ranges"]["state"]) == (0, "warning")
    assert "overlaps 10.96.8.0/24 on corp. VPNs: corp." in found["ranges"]["seen"]
    assert "--exclude 10.96.8.0/24" in found["ranges"]["mend"]


def test_a_report_names_nobody(laptop: Laptop, shop: Shop) -> None:
    file = f"/tmp/report-{os.getpid()}.json"
    told = json.loads(laptop.output("ktpy", "report", file, "-n", NAMESPACE, "--output", "json"))
    report = laptop.output("sh", "-c", f"cat {file} && rm {file}")
    assert (told["holds"]["doctor"] > 15, told["holds"]["list"]) == (True, len(json.loads(report)["list"]["services"]))
    assert re.findall(rf"\b({NAMESPACE}|catalog|supplier|admin|lab|node1|/home/dev)\b", report) == []


def test_an_unknown_context(laptop: Laptop) -> None:
    code, found = examined(laptop, "--context", "nowhere")
    assert (code, found["kubeconfig"]["state"]) == (64, "failed")
