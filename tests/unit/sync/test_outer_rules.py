from pathlib import Path

from ktpy.sync.outer_rules import outer_rules


def test_the_files_of_the_repository_above_count(tmp_path: Path) -> None:
    web = tmp_path / "repository" / "services" / "web"
    web.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("beyond")
    (tmp_path / "repository" / ".git" / "info").mkdir(parents=True)
    (tmp_path / "repository" / ".git" / "info" / "exclude").write_text("mine")
    (tmp_path / "repository" / ".gitignore").write_text("a")
    (tmp_path / "repository" / "services" / ".ktpyignore").write_text("b")
    assert {path: content.strip() for path, content in outer_rules(web, ["x", "y"]).items()} == {
        b"/": b"x\ny",
        b"/web": b"b",
        b"/services/web": b"a",
        b"//services/web": b"mine",
    }


def test_without_a_repository_nothing_above_counts(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("beyond")
    (tmp_path / "web").mkdir()
    assert outer_rules(tmp_path / "web") == {}
