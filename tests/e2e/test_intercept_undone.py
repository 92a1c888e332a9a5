"""`ktpy recover` and `ktpy clean`: what they bring back, what they only tell, and whom they leave alone."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.demo import manifest
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED, LOCAL, REDIRECTED, SERVICES, essence
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE
from tests.lab.sessions.http_clients import Visitors
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

RECOVER = ["ktpy", "recover", "web", "-n", NAMESPACE]
CLEAN = ["ktpy", "clean", "-n", NAMESPACE]
KTPYS = ("-l", "app.kubernetes.io/managed-by=ktpy")
KINDS = "services,deployments,replicasets,pods,leases,endpointslices"
BY_CONTROLLERS = ("status", "endpoints")
"""Parts of objects that controllers write, some time after what they see."""


@pytest.fixture
def killed(lab: Lab, visitors: Visitors) -> Iterator[Intercept]:
    """An exchange whose laptop and its records are lost; its Lease has not expired yet."""
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        exchange.kill()
        until_answered(visitors, "web")
        lab.exec(["sh", "-c", "rm /home/dev/.local/state/ktpy/intercepts/*"], check=True)
        yield exchange


def delete_all_of_ktpys(lab: Lab, *kinds: str) -> None:
    for kind in kinds:
        lab.kubectl("-n", NAMESPACE, "delete", kind, *KTPYS, "--wait=true")


def everything(lab: Lab) -> dict[str, str]:
    """Every object of the namespace, but for what controllers write of it."""
    items: list[dict[str, Any]] = json.loads(lab.kubectl("-n", NAMESPACE, "get", KINDS, "-o", "json"))["items"]
    return {f"{one['kind']} {one['metadata']['name']}": written(one) for one in items}


def written(item: dict[str, Any]) -> str:
    metadata = {key: item["metadata"].get(key) for key in ("uid", "labels", "ownerReferences", "finalizers")}
    annotations = item["metadata"].get("annotations", {})
    ktpys = {key: annotations[key] for key in annotations if "ktpy" in key}
    rest = {key: value for key, value in item.items() if key not in ("metadata", *BY_CONTROLLERS)}
    return json.dumps([metadata, ktpys, rest], sort_keys=True)


class TestRecover:
    def test_by_the_annotation_alone(self, lab: Lab, laptop: Laptop, web: str) -> None:
        """No gateway, no origin service, no lease, no record: the service has no endpoints until it is recovered."""
        with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
            exchange.kill()
            lab.exec(["sh", "-c", "rm /home/dev/.local/state/ktpy/intercepts/*"], check=True)
        delete_all_of_ktpys(lab, "leases", "deployments", "services")
        assert lab.api.get(f"{SERVICES}/web")["spec"]["selector"] == REDIRECTED
        assert laptop.output(*RECOVER) == "Service web selects app=web again, as found in the service itself.\n"

    def test_by_the_origin_service(self, lab: Lab, laptop: Laptop, killed: Intercept) -> None:
        lab.kubectl("-n", NAMESPACE, "annotate", "service", "web", "ktpy.dev/intercepted-")
        delete_all_of_ktpys(lab, "leases")
        # Whose field the selector was stood in the annotation: nothing else knows.
        told = laptop.output(*RECOVER)
        assert told == "Service web selects app=web again, as found in service web-ktpy-origin.\n"
        managed_again(lab)

    def test_by_what_was_last_applied(self, lab: Lab, laptop: Laptop, web: str) -> None:
        with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
            exchange.kill()
            lab.exec(["sh", "-c", "rm /home/dev/.local/state/ktpy/intercepts/*"], check=True)
        lab.kubectl("-n", NAMESPACE, "annotate", "service", "web", "ktpy.dev/intercepted-")
        delete_all_of_ktpys(lab, "leases", "deployments", "services")
        told = laptop.output(*RECOVER)
        assert told == "Service web selects app=web again, as found in what was last applied with kubectl.\n"
        managed_again(lab)

    def test_without_evict_the_living_are_in_the_way(self, lab: Lab, laptop: Laptop, visitors: Visitors) -> None:
        with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
            until_answered(visitors, "local")
            before = everything(lab)
            refused = attempt(lab, command=RECOVER, user="root")
            assert (refused.exit_code, "dev@laptop" in refused.message) == (58, True)
            assert without_leases(everything(lab)) == without_leases(before)

    def test_a_service_that_needs_nothing(self, laptop: Laptop, web: str) -> None:
        assert laptop.output(*RECOVER) == "Service web needs nothing: ktpy has no part in it.\n"


def without_leases(objects: dict[str, str]) -> dict[str, str]:
    """They are renewed all the time."""
    return {name: version for name, version in objects.items() if not name.startswith("Lease ")}


def managed_again(lab: Lab) -> None:
    """Make kubectl the manager of the selector again: with a change and back, both of which match the same pods."""
    pod = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dweb")["items"][0]
    for selector in (pod["metadata"]["labels"], {"app": "web"}):
        patch = json.dumps([{"op": "replace", "path": "/spec/selector", "value": selector}])
        field_manager = "--field-manager=kubectl-client-side-apply"
        lab.kubectl("-n", NAMESPACE, "patch", "service", "web", "--type=json", field_manager, "-p", patch)


class TestClean:
    def test_a_dry_run_lists_what_would_go_and_changes_nothing(
        self, lab: Lab, laptop: Laptop, killed: Intercept
    ) -> None:
        delete_all_of_ktpys(lab, "leases")  # as when it has expired, and somebody has noticed
        before = everything(lab)
        told = laptop.output(*CLEAN, "--dry-run").splitlines()
        assert everything(lab) == before
        [session] = {event["status"]["session"] for event in killed.events("ready")}
        assert told == [
            f"would remove session {NAMESPACE}/web/{session}: of dev@laptop, whose lease is gone",
            f"would remove interception {NAMESPACE}/web: no live session uses it",
            f"would remove service {NAMESPACE}/web-ktpy-origin: no live session uses it",
            f"would remove deployment {NAMESPACE}/web-ktpy-gateway: no live session uses it",
        ]
        done = laptop.output(*CLEAN).splitlines()
        assert done == [line.replace("would remove", "removed") for line in told]
        assert laptop.output(*CLEAN) == "Nothing to clean.\n"

    def test_clocks_a_day_apart_do_not_make_the_living_dead(self, lab: Lab, visitors: Visitors) -> None:
        """Another laptop's clock, or our own, ahead or behind: only the API server's counts."""
        other = lab.laptops(2)[1]
        with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
            until_answered(visitors, "local")
            for days in ("+1d", "-1d"):
                apart = ["faketime", "-f", days]
                today, theirs = (other.exec([*which, "date", "+%s"]).stdout for which in ([], apart))
                assert abs(int(theirs) - int(today)) > 86_000
                assert other.exec([*apart, *CLEAN], user="dev", check=True).stdout == "Nothing to clean.\n"
                refused = other.exec([*apart, *RECOVER], user="dev")
                assert (refused.returncode, "dev@laptop" in refused.stderr) == (58, True)
                with intercepting(other, "mesh", "web", *EXPOSED, "--version", "x", program=[*apart, "ktpy"]) as mesh:
                    for one in (lab, other):
                        assert one.exec(CLEAN, user="root", check=True).stdout == "Nothing to clean.\n"
                    listed = lab.exec(["ktpy", "list", "-n", NAMESPACE], user="dev", check=True).stdout
                    assert "dev@laptop-2: mesh of port 80" in listed
                    mesh.leave()
                until_answered(visitors, "local")


# --- what others write meanwhile


def test_the_manifest_is_applied_again(lab: Lab, visitors: Visitors) -> None:
    """As every deployment does. Nobody notices; who does it twice in a row is not contradicted."""
    [service] = [
        one for one in manifest.shop(WORKLOAD_IMAGE) if (one["kind"], one["metadata"]["name"]) == ("Service", "web")
    ]

    def apply() -> None:
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(service))

    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        apply()
        exchange.wait_for("ktpy redirects it once more")
        until_answered(visitors, "local")
        apply()
        exchange.wait_for("put the selector of web back again")
        until_answered(visitors, "web")
        exchange.leave()


# --- whose the service's fields are


@pytest.mark.parametrize("how", [["apply"], ["apply", "--server-side"], ["create"]])
def test_the_service_is_managed_by_whom_it_was(how: list[str], lab: Lab) -> None:
    """Whoever applies a manifest, meanwhile or later, meets no conflict with ktpy."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "theirs", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }

    def write() -> None:
        lab.kubectl(*how, "-f", "-", stdin=json.dumps(service))

    write()
    try:
        before = essence(lab.api.get(f"{SERVICES}/theirs"))
        with intercepting(lab, "exchange", "theirs", *EXPOSED) as exchange:
            if how[0] == "apply":
                write()
                exchange.wait_for("ktpy redirects it once more")
            exchange.leave()
        assert essence(lab.api.get(f"{SERVICES}/theirs")) == before
        service["spec"]["selector"] = {"app": "echo"}  # type: ignore[index]
        if how[0] == "apply":
            write()
    finally:
        lab.kubectl("-n", NAMESPACE, "delete", "service", "theirs")
