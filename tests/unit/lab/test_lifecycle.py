import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.lab import laptop, lifecycle
from tests.lab.layout import Layout


@pytest.mark.parametrize(("made_by", "is_own"), [("/a/.venv/bin:/usr/bin", True), ("/b/.venv/bin:/usr/bin", False)])
def test_a_lab_that_another_checkout_made_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, is_own: bool
) -> None:
    monkeypatch.setattr(laptop, "search_path", lambda _: "/a/.venv/bin:/usr/bin")
    ready = tmp_path / "ready"
    ready.write_text(json.dumps({"path": made_by}))
    assert lifecycle.is_own(cast(Layout, SimpleNamespace(ready_file=ready))) is is_own


def test_a_lab_of_an_earlier_version_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laptop, "search_path", lambda _: "/a/.venv/bin")
    ready = tmp_path / "ready"
    ready.write_text("{}")
    assert not lifecycle.is_own(cast(Layout, SimpleNamespace(ready_file=ready)))
