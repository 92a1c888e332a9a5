import pytest

from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.preview import PREVIEW
from ktpy.cluster.changes.registry import INTERCEPT_KINDS, kind_of
from ktpy.errors import KtpyError
from tests.unit.cluster.gateway_cases import plan


def test_a_role_tells_the_kind() -> None:
    roles = [role for kind in INTERCEPT_KINDS for role in kind.roles]
    assert sorted(roles) == ["gateway", "origin", "preview"]


def test_a_command_tells_the_kind() -> None:
    assert [kind_of(one) for one in ("exchange", "mesh", "preview")] == [GATEWAY, GATEWAY, PREVIEW]


def test_the_command_of_a_newer_version() -> None:
    with pytest.raises(KtpyError, match="does not know"):
        kind_of("develop")


def test_what_is_said_in_the_end() -> None:
    said = [kind.farewell.format(target="web") for kind in INTERCEPT_KINDS]
    assert said == ["Left; web is as before.", "Left; preview web is gone."]


@pytest.mark.parametrize(
    ("kind", "when_local_down", "words"),
    [
        ("mesh", "origin", "go to the original pods"),
        ("mesh", "wait", "go to the original pods"),
        ("mesh", "fail", "fail, as you asked for"),
        ("preview", "origin", "get no answer, or a 503 where it is HTTP"),
    ],
)
def test_where_requests_go_instead(kind: str, when_local_down: str, words: str) -> None:
    options = plan(kind=kind, when_local_down=when_local_down).options
    assert kind_of(kind).when_local_down(options) == words
