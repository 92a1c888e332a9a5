"""Which files with defaults are read, and how they are told of."""

import os
from pathlib import Path

import pytest

from ktpy.daemon import settings
from ktpy.errors import UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "al"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "al/shop/src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "al/shop/src")
    return tmp_path / "al"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_nearest_of_a_project_up_to_the_home_goes_before_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.found() == []
    own = write(home / ".config/ktpy/config.toml", "namespace = 'a'")
    write(home.parent / ".ktpy.toml", "beyond = 'the home'")
    assert [one.path for one in settings.found()] == [own]
    write(home / ".ktpy.toml", "is = 'farther'")
    nearest = write(home / "shop/.ktpy.toml", "[connect]\nmode = 'proxy'")
    project, user = settings.found()
    assert (project.path, project.table, project.is_of_project) == (nearest, {"connect": {"mode": "proxy"}}, True)
    assert (user.path, user.table, user.is_of_project) == (own, {"namespace": "a"}, False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    assert [one.path for one in settings.found()] == [nearest]


def test_what_another_user_owns_or_may_write_is_not_read_and_hides_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = write(home / "shop/src/.ktpy.toml", "no TOML")
    own = write(home / "shop/.ktpy.toml", "namespace = 'shop'")
    nearest.chmod(0o666)
    refused, read = settings.found()
    assert (refused.path, refused.table, refused.refusal) == (nearest, {}, "Everybody may write to it.")
    assert (read.path, read.refusal) == (own, None)
    nearest.unlink()
    os.mkfifo(nearest)  # nobody writes to it, and nobody waits
    assert [one.refusal for one in settings.found()] == ["It is no file.", None]
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert [one.table for one in settings.found()] == [{}, {}]
    assert all(f"not this user's, but of user id {os.getuid()}" in str(one.refusal) for one in settings.found())


def test_what_is_no_toml_is_told_and_hides_nothing_where_that_is_wanted(home: Path) -> None:
    broken = write(home / "shop/.ktpy.toml", "a = =")
    own = write(home / ".config/ktpy/config.toml", "namespace = 'a'")
    with pytest.raises(UsageError, match=f"^{broken}:1:"):
        settings.found()
    told: list[UsageError] = []
    assert [one.path for one in settings.found(told.append)] == [own]
    assert [one.message.startswith(f"{broken}:1:") for one in told] == [True]


def test_a_link_is_followed_to_a_file_of_the_user_alone(home: Path) -> None:
    target = write(home / "dotfiles/ktpy", "namespace = 'shop'")
    (home / "shop/.ktpy.toml").symlink_to(target)
    assert [one.table for one in settings.found()] == [{"namespace": "shop"}]
    target.chmod(0o666)
    assert [one.refusal for one in settings.found()] == ["Everybody may write to it."]
    target.unlink()
    assert settings.found() == []


def test_what_is_no_toml_is_told_with_its_place(home: Path) -> None:
    path = write(home / ".ktpy.toml", "a = 1\nb : 2\n")
    with pytest.raises(UsageError) as refused:
        settings.found()
    assert refused.value.message.startswith(f"{path}:2:3: Expected '='")
    path.write_text(f"a = {'[' * 9999}")
    with pytest.raises(UsageError, match="is nested too deeply"):
        settings.found()


def test_the_line_of_a_key() -> None:
    text = "a = 1\n[dev]\nx.y = 2\n\n[dev.start]  # so\n'image' = 3\n"
    file = settings.SettingsFile(Path("f"), {}, text)
    assert file.place("a") == "f:1"
    assert file.place("dev") == "f:2"
    assert file.place("dev", "x", "y") == "f:3"
    assert file.place("dev", "start", "image") == "f:6"
    assert file.place("image") == "f"


def test_a_folder_that_was_removed_has_no_project(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "shop/src").rmdir()
    write(home / "shop/.ktpy.toml", "namespace = 'shop'")
    assert settings.found() == []


def test_what_is_remembered_leaves_the_rest_as_it_is_written(home: Path) -> None:
    own = home / ".config/ktpy/config.toml"
    assert settings.remember("image", None) is False
    assert settings.remember("image", "r/a:1") is True
    assert own.read_text() == 'image = "r/a:1"\n'
    rest = "# mine\nnamespace = 'shop' # here\n\n[connect]\nimage = 'other'"
    own.write_text(rest)
    own.chmod(0o600)
    for value, text in (("r/a:1", f'image = "r/a:1"\n{rest}'), ("r/a:2", f'image = "r/a:2"\n{rest}'), (None, rest)):
        assert settings.remember("image", value) is True
        assert own.read_text() == text
    assert own.stat().st_mode & 0o777 == 0o600
    linked = own.rename(home / "elsewhere.toml")
    own.symlink_to(linked)
    assert settings.remember("image", "r/a:3") is True
    assert own.is_symlink()
    assert 'image = "r/a:3"' in linked.read_text()
    assert [one.name for one in home.glob(".*")] + [one.name for one in own.parent.iterdir()] == [".config", own.name]


def test_a_file_that_cannot_be_changed_stays_as_it_is(home: Path) -> None:
    own = write(home / ".config/ktpy/config.toml", "namespace = '''\nimage = 'no'\n'''\n")
    before = own.read_text()
    with pytest.raises(UsageError, match=r"image cannot be remembered in .*It is written in a way that ktpy does not"):
        settings.remember("image", "b")
    own.chmod(0o666)
    with pytest.raises(UsageError, match="Everybody may write to it"):
        settings.remember("image", "b")
    assert own.read_text() == before
