import pytest

from ktpy.wire.sync.entries import ABSENT, FILE, LINK, Entry, conflict_name, decoded, parent_of, shown

FILE_ENTRY = Entry(FILE, 0o644, 1 << 40, bytes(16), -1)


@pytest.mark.parametrize("entry", [FILE_ENTRY, Entry(LINK, content=b"../a"), Entry(2)])
def test_an_entry_travels_with_its_path(entry: Entry) -> None:
    data = b"xx" + entry.encoded(b"d/\xff") + b"rest"
    assert decoded(data, 2) == (entry, b"d/\xff", len(data) - 4)


def test_what_there_is_not_travels_too() -> None:
    assert decoded(ABSENT.encoded(b"a"))[:2] == (None, b"a")


@pytest.mark.parametrize(
    "path",
    [
        b"..",
        b"a/../b",
        b"/etc",
        b"a//b",
        b"a/",
        b"./a",
        b"a\0b",
        b".git/x",
        b"a/.GIT",
        b"git~1",
        b"",
        b"a/.ktpy-sync.x",
    ],
)
def test_a_path_that_leads_elsewhere_is_no_entry(path: bytes) -> None:
    with pytest.raises(ValueError, match="leads elsewhere"):
        decoded(FILE_ENTRY.encoded(path))


@pytest.mark.parametrize(
    "data",
    [b"", FILE_ENTRY.encoded(b"abc")[:-1], Entry(9).encoded(b"a"), Entry(FILE, 0o4755, 0, bytes(16)).encoded(b"a")],
)
def test_what_no_side_sends_is_no_entry(data: bytes) -> None:
    with pytest.raises(ValueError):
        decoded(data)


def test_times_do_not_make_entries_differ() -> None:
    assert FILE_ENTRY.is_same(FILE_ENTRY._replace(changed_ns=5))
    assert not FILE_ENTRY.is_same(FILE_ENTRY._replace(mode=0o755))
    assert not FILE_ENTRY.is_same(None)


@pytest.mark.parametrize(
    ("path", "attempt", "copy"),
    [
        (b"d/app.py", 0, b"d/app.conflict-container-01020304.py"),
        (b"d/app.py", 1, b"d/app.conflict-container-01020304-2.py"),
        (b".env", 0, b".env.conflict-container-01020304"),
        (b"Makefile", 0, b"Makefile.conflict-container-01020304"),
    ],
)
def test_a_conflict_copy_tells_whose_it_is(path: bytes, attempt: int, copy: bytes) -> None:
    assert conflict_name(path, "container", b"\1\2\3\4\5", attempt) == copy


def test_a_conflict_copy_of_a_long_name_has_a_name_that_is_short_enough() -> None:
    assert len(conflict_name(b"d/" + b"a" * 250 + b".py", "container", bytes(16), 0)) == len(b"d/") + 255
    assert len(conflict_name(b"a." + b"x" * 240, "container", bytes(16), 0)) == 255
    conflict_name("ä".encode() * 127, "container", bytes(16), 0).decode()


def test_parents_and_what_people_read() -> None:
    assert (parent_of(b"a/b/c"), parent_of(b"a")) == (b"a/b", b"")
    assert shown(b"a\xff") == "a\\xff"
