"""Entering and leaving before a Service of a real cluster, while somebody asks it for pages."""

import json

from tests.e2e.cluster_gateway.people import ENTRY, PEOPLE, SEED, SERVICES, Staying, answer, selector, staying
from tests.lab import Lab


def test_entering_and_leaving(undisturbed: Lab) -> None:
    with staying(undisturbed) as somebody:
        assert selector(undisturbed) == {"ktpy.dev/gateway": "web"}
        somebody.leave()
    assert [line["step"] for line in somebody.told if "step" in line] == list(ENTRY)


def test_two_at_the_same_instant(undisturbed: Lab) -> None:
    both = [Staying(undisturbed, "--owner", owner) for owner in ("alice", "bob")]
    try:
        for one in both:
            one.until_entered()
        annotation = undisturbed.api.get(f"{SERVICES}/web")["metadata"]["annotations"]["ktpy.dev/intercepted"]
        assert sorted(json.loads(annotation)["sessions"]) == sorted(one.told[0]["session"] for one in both)
        for one in both:
            one.leave()
    finally:
        for one in both:
            one.end()


def test_ten_in_random_order(undisturbed: Lab) -> None:
    told = answer(undisturbed, "crowd", "web", "--people", str(PEOPLE), "--seed", str(SEED))
    assert "error" not in told
    assert len(told["entered_after_s"]) == 2 * PEOPLE
