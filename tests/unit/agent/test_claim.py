"""The agent's side of a claim; how two sides are kept alike: tests/unit/sync."""

from pathlib import Path
from typing import Any

import pytest
from ktpy_agent import claim, sync


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been served, with claims below `tmp_path`."""
    found: list[Any] = []
    monkeypatch.setattr(claim, "CLAIMS_DIR", str(tmp_path))

    def serve(folder: str, **how: bool) -> int:
        found.append((folder, how))
        return 0

    monkeypatch.setattr(sync, "serve", serve)
    return found


@pytest.mark.parametrize(("system", "sees_changes"), [("ext4", True), ("nfs4", False), ("fuse.other", False)])
def test_where_another_machine_may_write_the_claim_is_looked_through(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, sees_changes: bool
) -> None:
    monkeypatch.setattr(claim, "mount_points", lambda _text: {f"{tmp_path}/data": system, "/": "ext4"})
    assert claim.run("/data") == 0
    assert served == [(f"{tmp_path}/data", {"sees_changes": sees_changes, "leaves_mark": False})]


@pytest.mark.parametrize("path", ["data", "/../etc", "/data/../..", "//data"])
def test_nothing_else_is_served(served: list[Any], path: str) -> None:
    assert (claim.run(path), served) == (64, [])


def test_what_is_no_folder_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "CLAIMS_DIR", str(tmp_path))
    (tmp_path / "one.db").touch()
    assert claim.run("/one.db") == 73
    assert capsys.readouterr().err == f"ktpy-agent: {tmp_path}/one.db: Not a directory\n"
