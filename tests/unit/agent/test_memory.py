from pathlib import Path

from ktpy_agent.memory import left_bytes


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert left_bytes(tmp_path) == 400


def test_version_2_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert left_bytes(tmp_path) is None


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("700\n")
    (tmp_path / "memory" / "memory.stat").write_text("cache 9\ntotal_inactive_file 100\n")
    assert left_bytes(tmp_path) == 400


def test_nothing_is_known(tmp_path: Path) -> None:
    assert left_bytes(tmp_path) is None
