"""The cache: what a key is made of, and that a half-made artifact is never seen."""

from pathlib import Path

import pytest

from tests.lab import cache


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_equal_inputs_give_equal_keys() -> None:
    assert cache.content_key(["a", b"b"]) == cache.content_key([b"a", "b"])


@pytest.mark.parametrize("other", [["ab"], ["", "ab"], ["b", "a"], ["a", "b", ""]])
def test_boundaries_and_order_of_inputs_count(other: list[str]) -> None:
    assert cache.content_key(other) != cache.content_key(["a", "b"])


def test_an_artifact_is_made_once() -> None:
    calls = []

    def make(directory: Path) -> None:
        calls.append(directory)
        (directory / "thing").write_text("made")

    first = cache.artifact("thing", ["v1"], make)
    assert cache.artifact("thing", ["v1"], make) == first
    assert len(calls) == 1
    assert (first / "thing").read_text() == "made"


def test_other_inputs_make_another_artifact() -> None:
    first = cache.artifact("thing", ["v1"], lambda directory: None)
    assert cache.artifact("thing", ["v2"], lambda directory: None) != first


def test_another_version_is_made_beside_it_meanwhile() -> None:
    """Who needs what is there must not wait for a build of something else."""
    made = []

    def make(directory: Path) -> None:
        made.append(cache.artifact("thing", ["v2"], lambda directory: None))

    assert [cache.artifact("thing", ["v1"], make)] != made


def test_a_failed_build_leaves_nothing(cache_home: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise RuntimeError("out of disk")

    with pytest.raises(RuntimeError):
        cache.artifact("thing", ["v1"], fail)
    assert [path.name for path in (cache_home / "ktpy" / "lab").iterdir()] == [
        f".thing-{cache.content_key(['v1'])}.lock"
    ]


def test_what_a_killed_build_left_is_removed_by_the_next(cache_home: Path) -> None:
    leftover = cache_home / "ktpy" / "lab" / f".thing-{cache.content_key(['v1'])}-partial-abc"
    leftover.mkdir(parents=True)
    cache.artifact("thing", ["v1"], lambda directory: None)
    assert not leftover.exists()


def test_every_user_may_enter_an_artifact() -> None:
    assert cache.artifact("thing", ["v1"], lambda directory: None).stat().st_mode & 0o777 == 0o755
