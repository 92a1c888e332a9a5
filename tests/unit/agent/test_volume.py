"""What the agent does in a claim; with the kernel's FUSE in front of it: tests/net/capture/namespace/test_claims.py."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ktpy_agent.volume import Volume, run

from ktpy.wire.volume import VERSION, Changes, MessageParser, Space, Status, packed


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    (tmp_path / "claim").mkdir()
    made = Volume(os.fsencode(tmp_path / "claim"))
    yield made
    with suppress(OSError):  # it was, with its channel
        made.close()


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    return tmp_path / "claim"


def ask(volume: Volume, operation: str, *arguments: Any, data: bytes = b"") -> tuple[int, list[Any], bytes]:
    """Its errno and results."""
    [([number, error, *results], content)] = MessageParser().feed(volume._answer(5, operation, list(arguments), data))
    assert number == 5
    return error, results, content


def results(volume: Volume, operation: str, *arguments: Any, data: bytes = b"") -> list[Any]:
    error, told, _ = ask(volume, operation, *arguments, data=data)
    assert error == 0, os.strerror(error)
    return told


def test_a_file_is_written_and_read(volume: Volume, claim: Path) -> None:
    handle, _ = results(volume, "open", "book", os.O_RDWR | os.O_EXCL, 0o640)
    assert results(volume, "write", handle, 2, data=b"text") == [4]
    assert results(volume, "sync", handle) == []
    assert ask(volume, "read", handle, 0, 100) == (0, [], b"\0\0text")
    [told] = results(volume, "change-open", handle, Changes(size=3, mode=0o600, modified_ns=5))
    assert (Status(*told).size, Status(*told).mode, Status(*told).modified_ns) == (3, 0o100600, 5)
    assert results(volume, "stat-open", handle) == results(volume, "stat", "book") == [told]
    assert results(volume, "close", handle) == []
    assert ask(volume, "read", handle, 0, 1)[0] == errno.ESTALE
    assert (claim / "book").read_bytes() == b"\0\0t"


def test_what_is_appended_comes_after_what_others_wrote(volume: Volume, claim: Path) -> None:
    handle, _ = results(volume, "open", "log", os.O_WRONLY | os.O_APPEND, 0o600)
    (claim / "log").write_text("there")
    results(volume, "write", handle, 0, data=b"here")
    assert (claim / "log").read_text() == "therehere"


def test_names(volume: Volume, claim: Path) -> None:
    results(volume, "make", "d", 0o40755)
    results(volume, "make", "d/a", 0o100644)
    results(volume, "link", "d/a", "d/b")
    results(volume, "symlink", "s", "any\udcff")
    assert results(volume, "readlink", "s") == ["any\udcff"]
    results(volume, "rename", "d/a", "d/c", 1)
    assert ask(volume, "rename", "d/c", "s", 1)[0] == errno.EEXIST
    results(volume, "rename", "d/c", "s", 0)
    [entries] = results(volume, "entries", "")
    assert {name: Status(*told).links for name, told in entries} == {"d": 2, "s": 2}
    results(volume, "unlink", "d/b")
    results(volume, "rmdir", "d")
    assert [one.name for one in claim.iterdir()] == ["s"]


def test_names_of_one_folder_are_exchanged(volume: Volume, claim: Path) -> None:
    (claim / "a").write_text("a")
    (claim / "b").write_text("b")
    (claim / "d").mkdir()
    results(volume, "rename", "a", "b", 2)
    assert (claim / "a").read_text() == "b"
    assert ask(volume, "rename", "a", "d/b", 2)[0] == errno.EINVAL


def test_attributes_are_set_by_name(volume: Volume, claim: Path) -> None:
    (claim / "a").write_text("text")
    (claim / "s").symlink_to("a")
    before = (claim / "a").stat()
    [told] = results(volume, "change", "a", Changes(size=1, mode=0o604, accessed_ns=7))
    assert Status(*told)[1:7:2] + Status(*told)[5:7] == (0o100604, 1, 7, 7, Status(*told).modified_ns)
    results(volume, "change", "s", Changes(modified_ns=9))
    assert (claim / "s").lstat().st_mtime_ns == 9
    assert (claim / "a").stat().st_mtime_ns >= before.st_mtime_ns
    assert results(volume, "access", "a", os.R_OK) == []
    assert Space(*results(volume, "space")[0]).name_bytes == 255


@pytest.mark.parametrize("path", ["out/secret", "../secret", "a/../../secret", "/etc/passwd"])
@pytest.mark.parametrize(
    ("operation", "arguments"), [("open", (os.O_RDONLY, None)), ("stat", ()), ("entries", ()), ("change", ([0] * 4,))]
)
def test_nothing_leads_out_of_the_claim(volume: Volume, claim: Path, path: str, operation: str, arguments: Any) -> None:
    (claim.parent / "secret").write_text("secret")
    (claim / "out").symlink_to(claim.parent)
    assert ask(volume, operation, path, *arguments)[0] != 0
    assert (claim.parent / "secret").read_text() == "secret"


def test_a_link_is_not_followed(volume: Volume, claim: Path) -> None:
    (claim / "s").symlink_to("/etc/passwd")
    assert ask(volume, "open", "s", os.O_RDONLY, None)[0] == errno.ELOOP


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4), ("a\0b",), (None,)])
def test_what_no_laptop_asks_is_an_error_of_its_own(volume: Volume, arguments: Any) -> None:
    assert ask(volume, "stat", *arguments)[0] in (errno.EINVAL, errno.ENOENT)
    assert ask(volume, "nonsense")[0] == errno.ENOSYS


def test_it_serves_until_the_channel_ends(volume: Volume) -> None:
    (source, ask_end), (answer_end, target) = os.pipe(), os.pipe()
    os.write(ask_end, packed([1, "space"]))
    os.close(ask_end)
    volume.serve(source, target)
    os.close(target)
    heads = [head for head, _ in MessageParser().feed(os.read(answer_end, 10000))]
    assert (heads[0], heads[1][:2]) == ([0, 0, VERSION], [1, 0])
    os.close(source)
    os.close(answer_end)


@pytest.mark.parametrize(("path", "status"), [("/../etc", 64), ("srv", 64), ("/absent", 73)])
def test_what_cannot_be_served_is_refused(
    path: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.umask", lambda _: 0)
    assert run(path) == status
    assert capsys.readouterr().err.startswith("ktpy-agent: ")
