import time
from collections.abc import Iterable
from typing import Any

import click
import pytest

from ktpy.cli import complete
from ktpy.sessions import once

NOTHING: Any = None


def completed(find: complete.Find, typed: str = "") -> list[str]:
    return complete._completing(find)(click.Context(click.Command("exchange")), NOTHING, typed)


def test_names_that_begin_with_what_is_typed() -> None:
    assert completed(lambda _: {"web", "worker", "db"}, "w") == ["web", "worker"]


def test_a_name_that_a_shell_would_read_otherwise_is_not_offered() -> None:
    assert completed(lambda _: ["a$(id)", "b;c", "d\x1b", "e"]) == ["e"]


def test_a_failure_is_silent() -> None:
    def fail(_: dict[str, Any]) -> Iterable[str]:
        raise OSError

    assert completed(fail) == []


def test_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "PATIENCE_S", 1)

    def hang(_: dict[str, Any]) -> Iterable[str]:
        time.sleep(30)
        return ()

    began_s = time.monotonic()
    assert completed(hang) == []
    assert time.monotonic() - began_s < 5


def test_the_options_typed_so_far_choose_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[once.ClusterRef, str]] = []

    def names(place: once.ClusterRef, resource: str) -> list[str]:
        asked.append((place, resource))
        return ["web"]

    monkeypatch.setattr(once, "names", names)
    ctx = click.Context(click.Command("exchange"))
    ctx.params = {"context": "lab", "namespace": "shop", "kubeconfig": None, "output": "text"}
    assert complete.service_names(ctx, NOTHING, "") == ["web"]
    assert asked == [(once.ClusterRef(None, "lab", "shop"), "services")]
