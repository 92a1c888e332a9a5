from ktpy.observe.status import SyncProblem
from ktpy.sync.events import ConflictKept, SyncEvent
from ktpy.sync.record import Record
from ktpy.wire.sync.entries import FILE, FOLDER, SEALED, THE_IGNORED, UNREADABLE, Entry

A = Entry(FILE, 0o644, 1, bytes(16))


def silent(_: SyncEvent) -> None:
    pass


def test_what_the_container_tells_is_looked_at_once_all_is_told() -> None:
    record = Record(silent, {})
    record.note_container(b"a", A)
    assert record.dirty == set()
    record.told()
    assert record.dirty == {b"a"}


def test_both_sides_have_one_entry_once_they_agree() -> None:
    record = Record(silent, {})
    record.note_laptop(b"a", A)
    record.note_container(b"a", A._replace(changed_ns=5))
    record.agree(b"a")
    assert record.container[b"a"] is record.common[b"a"] is record.laptop[b"a"]


def test_what_becomes_ignored_is_forgotten_and_not_deleted() -> None:
    record = Record(silent, {b"d/a": A})
    record.note_laptop(b"d", THE_IGNORED)
    record.agree(b"d/a")
    assert record.common == {}


def test_a_folder_that_stays_for_what_is_ignored_in_it_counts_until_there_is_something_else() -> None:
    record = Record(silent, {b"d": Entry(FOLDER)})
    record.note_container(b"d", Entry(FOLDER))
    record.note_container(b"d/cache", THE_IGNORED)
    record.leave(record.container, b"d")
    assert record.container[b"d"] == THE_IGNORED
    record.dirty.clear()
    record.note_laptop(b"d", Entry(FOLDER))
    assert record.container[b"d"] == Entry(FOLDER)
    assert record.dirty == {b"d", b"d/cache"}


def test_a_folder_in_which_there_is_something_is_new_to_the_other_side() -> None:
    record = Record(silent, {b"d": Entry(FOLDER)})
    record.note_container(b"d", Entry(FOLDER))
    record.note_container(b"d/a", A)
    record.leave(record.container, b"d")
    assert (record.container[b"d"], record.common, record.dirty) == (Entry(FOLDER), {}, {b"d"})


def test_with_a_folder_that_made_way_goes_all_that_was_in_it() -> None:
    record = Record(silent, {})
    record.container |= {b"d": Entry(FOLDER), b"d/e": Entry(FOLDER), b"d/e/a": A, b"da": A}
    record.found(record.container, b"d", None)
    assert (record.container, record.dirty) == ({b"da": A}, {b"d", b"d/e", b"d/e/a"})


def test_what_did_not_make_way_is_as_it_was_found() -> None:
    record = Record(silent, {})
    record.found(record.container, b"d", A)
    assert (record.container, record.dirty) == ({b"d": A}, set())


def test_a_problem_is_told_once() -> None:
    events: list[SyncEvent] = []
    record = Record(events.append, {})
    for _ in range(2):
        record.problem(b"a\xff", "the disk is full")
    record.conflict(b"a", b"b")
    assert events == [SyncProblem("a\\xff", "the disk is full"), ConflictKept("a", "b")]
    assert (record.last_error, record.conflicts) == ("a\\xff: the disk is full", 1)
    record.done(b"a\xff", A)
    assert record.problems == {}


def test_another_channel_begins_with_nothing_of_the_container() -> None:
    record = Record(silent, {})
    record.note_container(b"a", A)
    record.begin({b"b": A})
    assert (record.container, record.laptop) == ({}, {b"b": A})


def test_what_cannot_be_read_is_told_on_either_side_until_it_can() -> None:
    told: list[SyncEvent] = []
    record = Record(told.append, {})
    record.begin({b"a": A, b"b": THE_IGNORED, b"c": SEALED})
    record.note_container(b"d", UNREADABLE)
    assert [(one.path, one.text.partition(":")[0]) for one in told if isinstance(one, SyncProblem)] == [
        ("c", "it cannot be read on the laptop"),
        ("d", "it cannot be read in the container"),
    ]
    record.note_laptop(b"c", A)
    record.agree(b"c")
    assert set(record.problems) == {b"d"}
