import pytest

from ktpy.cli.mesh import match_of, version_of
from ktpy.wire.route import Header, Match

HEADER = Header("user", "al")


def test_a_version_may_also_come_as_baggage() -> None:
    assert match_of("a", (), None) == Match((Header("VERSION", "a"),), None, (("ktpy-version", "a"),))


def test_beside_other_headers_it_may_not() -> None:
    assert match_of("a", (HEADER,), "/api") == Match((Header("VERSION", "a"), HEADER), "/api", ())


def test_without_a_version() -> None:
    assert match_of(None, (), "/api") == Match((), "/api", ())


@pytest.mark.parametrize(
    ("user", "version"),
    [
        ("alice", "alice"),
        ("Alice.Smith@example.org", "alice.smith-example.org"),
        ("ACME\\bob", "acme-bob"),
        ("ö", "mine"),
    ],
)
def test_a_version_from_a_user_name(user: str, version: str) -> None:
    assert version_of(user) == version
