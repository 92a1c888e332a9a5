"""Plans, in a table, and carried out on two sides in memory, edited at random."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.sync.options import Initial, SyncOptions
from ktpy.sync.plan import Action, Sides, Step, is_deletion, plan
from ktpy.wire.sync.entries import FILE, FOLDER, THE_IGNORED, Entry, conflict_name, parent_of

DIRECTORY = Entry(FOLDER)


def file(version: int, changed_s: float = 0.0, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 1, bytes([version] * 16), int(changed_s * 1e9))


A, B, C = file(1), file(2), file(3)


@pytest.mark.parametrize(
    ("common", "laptop", "container", "two_way", "one_way"),
    [
        (None, A, None, Action.TO_CONTAINER, Action.TO_CONTAINER),
        (None, None, A, Action.TO_LAPTOP, Action.LEAVE),
        (A, B, A, Action.TO_CONTAINER, Action.TO_CONTAINER),
        (A, A, B, Action.TO_LAPTOP, Action.LEAVE),
        (A, None, A, Action.TO_CONTAINER, Action.TO_CONTAINER),
        (A, A, None, Action.TO_LAPTOP, Action.LEAVE),
        (A, B, C, Action.CONFLICT, Action.CONFLICT),
        (A, B, None, Action.TO_CONTAINER, Action.TO_CONTAINER),
        (A, None, B, Action.TO_LAPTOP, Action.LEAVE),
        (A, B, B, Action.AGREE, Action.AGREE),
        (A, None, None, Action.AGREE, Action.AGREE),
        (A, THE_IGNORED, None, Action.AGREE, Action.AGREE),
        (A, B, THE_IGNORED, Action.AGREE, Action.AGREE),
        (A, file(1, mode=0o755), file(1, mode=0o700), Action.TO_CONTAINER, Action.TO_CONTAINER),
        (A, DIRECTORY, A, Action.TO_CONTAINER, Action.TO_CONTAINER),
        (A, DIRECTORY, B, Action.CONFLICT, Action.CONFLICT),
        (None, A, B, Action.CONFLICT, Action.CONFLICT),
    ],
)
def test_what_becomes_of_one_path(
    common: Entry | None, laptop: Entry | None, container: Entry | None, two_way: Action, one_way: Action
) -> None:
    def index(entry: Entry | None) -> dict[bytes, Entry]:
        return {b"a": entry} if entry else {}

    sides = Sides(index(laptop), index(container), index(common))
    for is_two_way, action in ((True, two_way), (False, one_way)):
        steps = plan([b"a"], sides, SyncOptions(is_two_way=is_two_way))
        assert [step.action for step in steps] == ([action] if action is not Action.LEAVE else [])


@pytest.mark.parametrize(
    ("initial", "laptop_s", "container_s", "action"),
    [
        (Initial.LAPTOP, 0, 100, Action.TO_CONTAINER),
        (Initial.CONTAINER, 100, 0, Action.TO_LAPTOP),
        (Initial.BOTH, 100, 0, Action.CONFLICT),
        (Initial.NEWER, 1100, 0, Action.TO_CONTAINER),
        (Initial.NEWER, 0, 100, Action.TO_CONTAINER),  # the container's clock is ahead by more than that
        (Initial.NEWER, 0, 1100, Action.TO_LAPTOP),
        (Initial.NEWER, 0, 1001, Action.CONFLICT),
    ],
)
def test_the_first_time_a_strategy_decides(
    initial: Initial, laptop_s: float, container_s: float, action: Action
) -> None:
    sides = Sides({b"a": file(1, laptop_s)}, {b"a": file(2, container_s)}, {}, clock_offset_s=1000.0)
    assert [step.action for step in plan([b"a"], sides, SyncOptions(initial=initial))] == [action]


def test_what_is_deleted_in_the_container_stays_if_that_is_asked_for() -> None:
    sides = Sides({b"a": A}, {}, {b"a": A})
    assert plan([b"a"], sides, SyncOptions(is_delete_protected=True)) == []


@pytest.mark.parametrize(("ours", "theirs"), [(A, DIRECTORY), (DIRECTORY, A)])
def test_another_kind_in_the_container_deletes_nothing_if_that_is_asked_for(ours: Entry, theirs: Entry) -> None:
    sides = Sides({b"a": ours}, {b"a": theirs}, {b"a": ours})
    assert [one.action for one in plan([b"a"], sides, SyncOptions(is_delete_protected=True))] == [Action.CONFLICT]
    assert [one.action for one in plan([b"a"], sides, SyncOptions())] == [Action.TO_LAPTOP]


def test_deletions_come_first_and_inner_ones_before_outer_ones() -> None:
    laptop = {b"n": DIRECTORY, b"n/a": A}
    container = {b"d": DIRECTORY, b"d/a": A}
    steps = plan([b"n/a", b"d", b"n", b"d/a"], Sides(laptop, container, container), SyncOptions())
    assert [(step.path, is_deletion(step)) for step in steps] == [
        (b"d/a", True), (b"d", True), (b"n", False), (b"n/a", False),
    ]  # fmt: skip


def test_a_folder_that_was_deleted_comes_back_for_what_is_new_in_it() -> None:
    container = {b"d": DIRECTORY, b"d/new": A}
    steps = plan([b"d", b"d/new"], Sides({}, container, {b"d": DIRECTORY}), SyncOptions())
    assert [(step.path, step.action) for step in steps] == [(b"d", Action.TO_LAPTOP), (b"d/new", Action.TO_LAPTOP)]


def test_a_file_in_place_of_a_folder_in_which_something_has_changed_is_a_conflict() -> None:
    common = {b"d": DIRECTORY, b"d/a": A}
    steps = plan([b"d", b"d/a"], Sides({b"d": DIRECTORY, b"d/a": B}, {b"d": C}, common), SyncOptions())
    assert [(step.path, step.action) for step in steps] == [(b"d", Action.CONFLICT), (b"d/a", Action.TO_CONTAINER)]


def test_what_is_in_an_ignored_folder_is_left_alone() -> None:
    sides = Sides({b"d": THE_IGNORED}, {b"d": DIRECTORY, b"d/a": A}, {b"d/a": B})
    assert {step.action for step in plan([b"d", b"d/a"], sides, SyncOptions())} == {Action.AGREE}


def test_of_names_that_differ_in_case_one_is_written_where_case_is_folded() -> None:
    container = {b"Name": A, b"name": B, b"D": DIRECTORY, b"d": DIRECTORY, b"d/a": A}
    sides = Sides({}, container, {}, folding=frozenset({Action.TO_LAPTOP}))
    actions = {step.path: step.action for step in plan(container, sides, SyncOptions())}
    assert actions == {
        b"Name": Action.TO_LAPTOP, b"name": Action.CLASH,
        b"D": Action.TO_LAPTOP, b"d": Action.CLASH, b"d/a": Action.CLASH,
    }  # fmt: skip


def test_a_name_may_change_its_case_where_case_is_folded() -> None:
    sides = Sides({b"Name": A}, {b"name": A}, {b"Name": A}, folding=frozenset({Action.TO_LAPTOP}))
    steps = plan([b"Name", b"name"], sides, SyncOptions())
    assert [(step.path, step.action, is_deletion(step)) for step in steps] == [
        (b"Name", Action.TO_LAPTOP, True), (b"name", Action.TO_LAPTOP, False),
    ]  # fmt: skip


PATHS = [b"a", b"b", b"d", b"d/a", b"d/b", b"d/e", b"d/e/a"]
EDITS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "delete", "folder"]), st.booleans(), st.sampled_from(PATHS)),
        st.tuples(st.just("sync"), st.booleans(), st.just(b"")),
    ),
    max_size=30,
)


class Model:
    """A Model carries plans out on two sides that are dicts, with the applier's checks."""

    def __init__(self) -> None:
        self.laptop: dict[bytes, Entry] = {}
        self.container: dict[bytes, Entry] = {}
        self.common: dict[bytes, Entry] = {}
        self.alive: set[bytes] = set()
        self._versions = iter(range(1, 10_000))

    def edit(self, name: str, is_laptop: bool, path: bytes) -> None:
        side = self.laptop if is_laptop else self.container
        parent = parent_of(path)
        if name == "delete":
            self._remove(side, path)
        elif parent and getattr(side.get(parent), "kind", 0) != FOLDER:
            return
        elif name == "folder" and path not in side:
            side[path] = DIRECTORY
        elif name == "write":
            self._remove(side, path)
            content = next(self._versions).to_bytes(16, "big")
            side[path] = Entry(FILE, 0o644, 1, content)
            self.alive.add(content)

    def _remove(self, side: dict[bytes, Entry], path: bytes) -> None:
        for one in [one for one in side if one == path or one.startswith(path + b"/")]:
            self.alive.discard(side.pop(one).content)

    def sync(self) -> None:
        for _ in range(20):
            paths = {*self.laptop, *self.container, *self.common}
            steps = plan(paths, Sides(self.laptop, self.container, self.common), SyncOptions())
            if all(step.action is Action.AGREE for step in steps) and self.laptop == self.container:
                self.common = dict(self.laptop)
                return
            for step in steps:
                self._do(step)
        raise AssertionError(f"no end: {steps}")

    def _do(self, step: Step) -> None:
        if step.action is Action.CONFLICT:
            self._move_aside(step.path)
        target, entry = (
            (self.laptop, step.container) if step.action is Action.TO_LAPTOP else (self.container, step.laptop)
        )
        expected = step.laptop if step.action is Action.TO_LAPTOP else step.container
        if step.action is Action.AGREE:
            if step.laptop is None:
                self.common.pop(step.path, None)
            else:
                self.common[step.path] = step.laptop
            return
        if step.action is not Action.CONFLICT and target.get(step.path) != expected:
            return
        has_inner = any(one.startswith(step.path + b"/") for one in target)
        parent = parent_of(step.path)
        if has_inner and (entry is None or entry.kind != FOLDER):  # ENOTEMPTY
            self.common.pop(step.path, None)
        elif entry is None:
            target.pop(step.path, None)
            self.common.pop(step.path, None)
        elif not parent or getattr(target.get(parent), "kind", 0) == FOLDER:
            target[step.path] = self.common[step.path] = entry

    def _move_aside(self, path: bytes) -> None:
        attempt = 0
        while (copy := conflict_name(path, "container", b"0000", attempt)) in self.container:
            attempt += 1
        for one in [one for one in self.container if one == path or one.startswith(path + b"/")]:
            self.container[copy + one[len(path) :]] = self.container.pop(one)


@given(EDITS)
@settings(max_examples=300, deadline=None)
def test_plans_come_to_an_end_and_lose_nothing(edits: list[tuple[str, bool, bytes]]) -> None:
    model = Model()
    for name, is_laptop, path in edits:
        if name == "sync":
            model.sync()
        else:
            model.edit(name, is_laptop, path)
    model.sync()
    assert model.laptop == model.container
    assert model.alive <= {entry.content for entry in model.laptop.values()}
