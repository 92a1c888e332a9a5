"""Ignore rules against git itself, on generated patterns and paths."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ktpy.wire.sync.entries import IGNORED, LAPTOP
from ktpy.wire.sync.folder import Folder
from ktpy.wire.sync.replica import Replica

NAMES = st.sampled_from(
    [b"a", b"b", b"ab", b"foo", b"foo.o", b"x y", b"-", b"[a]", b"a]", b"\\", b"#a", b"!a", b" ", b"B", b"\xff"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
PIECES = st.sampled_from(
    [
        b"a",
        b"b",
        b"foo",
        b".o",
        b"*",
        b"**",
        b"/",
        b"/**/",
        b"?",
        b"\\",
        b"[",
        b"]",
        b"[!a]",
        b"[^a-c]",
        b"[a-f]",
        b"[]-]",
        b"[[:alpha:]]",
        b"[[:nope:]]",
        b"[[:space:]]",
        b"[a-",
        b"!",
        b"#",
        b" ",
        b"\\ ",
        b"\\!",
        b"\\#",
        b"-",
        b"x y",
        b"\xff",
        b"\t",
        b"\r",
    ]
)
PATTERNS = st.lists(PIECES, min_size=1, max_size=6).map(b"".join)
FILES = st.lists(PATTERNS, max_size=5).map(b"\n".join)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def make(root: Path, paths: set[bytes]) -> None:
    for path in paths:
        file = Path(os.fsdecode(os.fsencode(root) + b"/" + path))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.is_dir():
                file.touch()
        except (NotADirectoryError, FileExistsError):
            pass


def clear(root: Path) -> None:
    for child in root.iterdir():
        if child.is_dir() and child.name != ".git":
            shutil.rmtree(child)
        elif child.name != ".git":
            child.unlink()


def listed(root: Path) -> Iterator[tuple[bytes, bool]]:
    for folder, folders, files in os.walk(os.fsencode(root)):
        relative = folder[len(os.fsencode(root)) + 1 :]
        folders[:] = [one for one in folders if one != b".git"]
        for name in [*folders, *files]:
            yield (relative + b"/" + name if relative else name), name in folders


def by_git(root: Path) -> set[bytes]:
    """What git ignores: everything that `check-ignore` names, which asks for parents as well."""
    paths = [path for path, _ in listed(root)]
    asked = b"".join(path + b"\0" for path in paths)
    command = ["git", "-C", str(root), "check-ignore", "-z", "--no-index", "--stdin"]
    return set(subprocess.run(command, input=asked, capture_output=True, check=False).stdout.split(b"\0")) - {b""}


def by_us(root: Path) -> set[bytes]:
    folder = Folder(os.fsencode(root))
    try:
        ignored = {path for path, entry in Replica(folder, LAPTOP).scan() if entry and entry.kind == IGNORED}
    finally:
        folder.close()
    return {path for path, _ in listed(root) if any(path == one or path.startswith(one + b"/") for one in ignored)}


@given(FILES, FILES, st.sets(PATHS, min_size=1, max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_is_ignored_as_git_ignores(repository: Path, outer: bytes, inner: bytes, paths: set[bytes]) -> None:
    clear(repository)
    make(repository, paths)
    (repository / ".gitignore").write_bytes(outer)
    if (repository / "a").is_dir():
        (repository / "a" / ".gitignore").write_bytes(inner)
    assert by_us(repository) == by_git(repository)


@pytest.mark.parametrize(
    "content",
    [
        b"a/\r\nfoo.o\r",
        b"\xef\xbb\xbfa\n",
        b"foo.o   \nx\\ y",
        b"/*\n!/a\n",
        b"**/b/**\n",
        b"a/**/b",
        b"a\0b\nfoo",
        b"/",
        b"!",
        b"\\",
    ],
)
def test_forms_that_are_seldom_written(repository: Path, content: bytes) -> None:
    clear(repository)
    make(repository, {b"a/b/foo.o", b"foo.o", b"x y/a", b"b/a/b", b"foo/a"})
    (repository / ".gitignore").write_bytes(content)
    assert by_us(repository) == by_git(repository)
