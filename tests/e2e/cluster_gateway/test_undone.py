"""What `clean` and `recover` find, and leave alone."""

import pytest

from tests.e2e.cluster_gateway.people import (
    BRIEFLY_S,
    DAY_S,
    ENTRY,
    NAMESPACE,
    answer,
    clean,
    essence,
    leftovers,
    probe,
    selector,
    staying,
    until_expired,
    until_renewed_after,
)
from tests.lab import Lab


@pytest.mark.parametrize("ahead_s", [DAY_S, -DAY_S])
def test_clocks_a_day_apart(undisturbed: Lab, ahead_s: int) -> None:
    with staying(undisturbed, "--clock-ahead-s", str(ahead_s)) as somebody:
        until_renewed_after(undisturbed, BRIEFLY_S)  # so that it could be told from one that has just come
        told = probe(undisturbed, "clean")
        assert [line for line in told if "found" in line] == []
        assert selector(undisturbed) == {"ktpy.dev/gateway": "web"}
        somebody.leave()


def test_a_dry_run_changes_nothing(undisturbed: Lab) -> None:
    probe(undisturbed, "enter", "web", "--kill-after", ENTRY[-1])
    until_expired(undisturbed)
    told = probe(undisturbed, "clean", "--dry-run", "--expired-after-s", str(BRIEFLY_S))
    assert [line["found"] for line in told] == ["session", "interception", "service", "deployment"]
    assert selector(undisturbed) == {"ktpy.dev/gateway": "web"}
    clean(undisturbed)


class TestRecover:
    def test_by_the_annotation_alone(self, cluster: Lab) -> None:
        before = essence(cluster)
        probe(cluster, "enter", "web", "--kill-after", ENTRY[-1])
        for kind in ("deployment/web-ktpy-gateway", "service/web-ktpy-origin"):
            cluster.kubectl("-n", NAMESPACE, "delete", kind)
        cluster.kubectl("-n", NAMESPACE, "delete", "leases", "--all")
        assert answer(cluster, "recover", "web")["selector"] == {"app": "web"}
        assert essence(cluster) == before
        assert leftovers(cluster) == []

    def test_by_the_origin_service(self, undisturbed: Lab) -> None:
        probe(undisturbed, "enter", "web", "--kill-after", ENTRY[-1])
        undisturbed.kubectl("-n", NAMESPACE, "annotate", "service", "web", "ktpy.dev/intercepted-")
        undisturbed.kubectl("-n", NAMESPACE, "delete", "leases", "--all")
        assert answer(undisturbed, "recover", "web")["source"] == "service web-ktpy-origin"

    def test_live_sessions_are_in_the_way(self, undisturbed: Lab) -> None:
        with staying(undisturbed) as somebody:
            assert answer(undisturbed, "recover", "web")["error"] == "SessionsLive"
            somebody.leave()
