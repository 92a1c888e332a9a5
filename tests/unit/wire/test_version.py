import pytest

from ktpy.wire.version import VERSION, is_understood, version_difference


@pytest.mark.parametrize(
    ("version", "difference"),
    [(VERSION - 1, "one version older"), (VERSION, None), (VERSION + 1, "one version newer")],
)
def test_one_version_apart_is_understood_and_said(version: int, difference: str | None) -> None:
    assert is_understood(version)
    assert version_difference(version) == difference


@pytest.mark.parametrize("version", [VERSION - 2, VERSION + 2, str(VERSION), None, True, 1.0])
def test_anything_else_is_not(version: object) -> None:
    assert not is_understood(version)
