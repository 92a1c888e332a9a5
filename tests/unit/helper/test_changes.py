"""A change is on disk before it is made, and undone when making it fails."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ktpy.helper import changes, snapshot
from ktpy.helper.changes import Layer, ResolvConf, recorded
from ktpy.helper.journal import Journal, pending_of, stale
from ktpy.helper.journal_text import Entry
from tests.kit.journals import abandon

made: list[str] = []


@dataclass(frozen=True)
class Probe:
    name: str
    undo_fails: bool = False

    def summary(self) -> str:
        return self.name

    def undo(self) -> str | None:
        if self.undo_fails:
            raise OSError("no")
        made.append(f"undo {self.name}")
        return None


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Journal]:
    made.clear()
    journal = Journal.create(0, tmp_path / "journal")
    yield journal
    with suppress(OSError, ValueError):  # a test has closed its files
        journal.close()


def on_disk(open_journal: Journal) -> list[str]:
    return [entry.summary for entry in pending_of(open_journal.journal_id, open_journal.path.parent)]


def test_on_disk_before_it_is_made(open_journal: Journal) -> None:
    with recorded(open_journal, Probe("link")):
        assert on_disk(open_journal) == ["link"]
    assert on_disk(open_journal) == ["link"]
    assert made == []


def test_failing_to_make_it_undoes_the_half(open_journal: Journal) -> None:
    with pytest.raises(KeyError), recorded(open_journal, Probe("link")):
        raise KeyError
    assert made == ["undo link"]
    assert on_disk(open_journal) == []


def test_failing_to_write_it_down_makes_nothing(open_journal: Journal) -> None:
    open_journal._file.close()
    with pytest.raises(ValueError, match="closed"), recorded(open_journal, Probe("link")):
        pytest.fail("the change was made without a record")


def test_failing_to_undo_the_half_keeps_the_record_and_the_first_error(open_journal: Journal) -> None:
    with pytest.raises(KeyError) as caught, recorded(open_journal, Probe("link", undo_fails=True)):
        raise KeyError
    assert "failed as well" in caught.value.__notes__[0]
    assert on_disk(open_journal) == ["link"]


def test_killed_while_making_it_leaves_the_record(open_journal: Journal) -> None:
    context = recorded(open_journal, Probe("link"))
    context.__enter__()
    abandon(open_journal)
    assert stale(open_journal.path.parent)[0].pending == ("link",)


@pytest.fixture
def resolv_conf(tmp_path: Path) -> ResolvConf:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"original\n")
    before = snapshot.take(path)
    return ResolvConf(str(path), snapshot.overwritten(before, b"ours\n", 1), (Layer(None, before),))


def test_undo_reads_its_change_from_the_journal(open_journal: Journal, resolv_conf: ResolvConf) -> None:
    path = Path(resolv_conf.path)
    with recorded(open_journal, resolv_conf):
        snapshot.put(path, resolv_conf.written)
    [entry] = pending_of(open_journal.journal_id, open_journal.path.parent)
    assert changes.undo(entry) is None
    assert path.read_bytes() == b"original\n"
    assert changes.undo(entry) is None  # idempotent


def test_undo_of_a_change_never_made(resolv_conf: ResolvConf) -> None:
    assert resolv_conf.undo() is None
    assert Path(resolv_conf.path).read_bytes() == b"original\n"


def test_undo_leaves_what_is_not_ours(resolv_conf: ResolvConf) -> None:
    path = Path(resolv_conf.path)
    path.write_bytes(b"ours\nand a line of the user's\n")
    assert resolv_conf.undo() == f"{path} is not what ktpy wrote any more: left as it is"
    assert path.read_bytes() == b"ours\nand a line of the user's\n"


def test_routes_in_the_journal_of_an_earlier_version_have_gone_with_their_device() -> None:
    body = {"link": "ktpy0", "alias": "ktpy a", "networks": ["10.96.0.0/16"]}
    assert changes.undo(Entry(1, "Routes", "1 routes into ktpy0", body)) is None
