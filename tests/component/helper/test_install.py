"""Whether others than root may write where the helper's code lies, with folders of another user."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ktpy.errors import HelperFailed
from ktpy.helper import install

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives folders to another user: needs root")

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder that the helper's code comes from. Its parents are root's."""
    code = tmp_path / "opt" / "lib"
    code.mkdir(parents=True)
    (code / "module.py").touch()
    nowhere = str(tmp_path / "absent" / "python.zip")
    modules = {"module": SimpleNamespace(__file__=str(code / "module.py")), "built-in": SimpleNamespace()}
    names = {"executable": nowhere, "prefix": nowhere, "base_prefix": nowhere, "path": [str(code)], "modules": modules}
    monkeypatch.setattr(install, "sys", SimpleNamespace(**names))
    for parent in tmp_path.parents:
        assert parent.stat().st_uid == 0
    yield code
    os.chown(code.parent, 0, 0)


def test_where_only_root_may_write(code: Path) -> None:
    assert install.remark_on_install(code) is None


@pytest.mark.parametrize("opened", ["", "..", "module.py"], ids=["the folder", "its parent", "a module"])
def test_what_belongs_to_somebody_else_is_told(code: Path, opened: str) -> None:
    path = (code / opened).resolve()
    os.chown(path, NOBODY.pw_uid, 0)
    assert install.remark_on_install(code / "strict") == (
        f"{path} belongs to nobody, and root runs code from there: where sudo allows ktpy alone, it allows all that"
        " way. Install ktpy where only root may write: README, section Install."
    )


@pytest.mark.parametrize(
    ("mode", "gid", "words"),
    [
        (0o757, 0, "may be written by everybody"),
        (0o1777, 0, "may be written by everybody"),
        (0o775, NOBODY.pw_gid, "may be written by group nogroup"),
        (0o775, 0, None),
        (0o775, 4711, "may be written by group 4711"),
    ],
)
def test_who_may_write(code: Path, mode: int, gid: int, words: str | None) -> None:
    os.chown(code, 0, gid)
    code.chmod(mode)
    assert install.first_opening([str(code)]) == (words and f"{code} {words}")


def test_a_sticky_folder_protects_what_lies_in_it(code: Path) -> None:
    code.parent.chmod(0o1777)
    assert install.first_opening([str(code)]) is None
    assert install.first_opening([str(code.parent / "yet-to-be-made")]) == f"{code.parent} may be written by everybody"


def test_a_link_on_the_way_is_followed(code: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "lib").mkdir(parents=True)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    (code / "middle").symlink_to("../../home/lib")
    (code / "link").symlink_to("middle/")
    assert install.first_opening([str(code / "link" / "python")]) == f"{code}/../../home belongs to nobody"


def test_the_administrator_may_have_it_refused(code: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    strict.touch()
    assert install.remark_on_install(strict) is None
    os.chown(code, NOBODY.pw_uid, 0)
    with pytest.raises(HelperFailed) as caught:
        install.remark_on_install(strict)
    assert caught.value.message == (
        f"{code} belongs to nobody, so {strict} keeps the helper from running as root; nothing was changed."
    )
