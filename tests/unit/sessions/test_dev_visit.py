import pytest

from ktpy.cluster.changes.dev_found import DevSession
from ktpy.errors import InterceptAbsent, TargetAmbiguous
from ktpy.sessions.dev_visit import chosen


def session(name: str, owner: str = "al", workload: str = "deployment/web") -> DevSession:
    return DevSession(name, owner, "shop", workload, "replace", "web", "web-ktpy-dev", None)


@pytest.mark.parametrize("target", ["web", "deploy/web", "a"])
def test_what_the_user_means(target: str) -> None:
    found = [session("a"), session("c", workload="statefulset/db")]
    assert chosen(found, target, "bo").id == "a"


def test_of_several_the_own_one() -> None:
    assert chosen([session("a"), session("b", "bo")], "web", "bo").id == "b"
    with pytest.raises(TargetAmbiguous, match=r"by al \(a\), .*by bo \(b\)"):
        chosen([session("a"), session("b", "bo")], "web", "cy")


def test_what_nobody_develops() -> None:
    with pytest.raises(InterceptAbsent) as refused:
        chosen([session("a")], "db", "al")
    assert refused.value.hint == "Developed are: deployment/web."
