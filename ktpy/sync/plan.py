"""What has to be done, and where, so that two sides and what they last had in common become alike. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from ktpy.sync.options import Initial, SyncOptions
from ktpy.wire.sync.entries import FILE, FOLDER, IGNORED, Entry, parent_of

Index = Mapping[bytes, Entry]
CLOCK_DOUBT_S: Final = 2.0
"""Times of two sides that are closer than that say nothing about which file is newer."""


class Action(Enum):
    AGREE = "both are the same, or have no part in it: note that"
    TO_LAPTOP = "the container's, or its absence, goes to the laptop"
    TO_CONTAINER = "the laptop's, or its absence, goes to the container"
    CONFLICT = "the container's is kept aside, and the laptop's goes there"
    CLASH = "another name that differs in case is there: nothing is done"
    LEAVE = "they differ, and may"


@dataclass(frozen=True, slots=True)
class Step:
    path: bytes
    action: Action
    laptop: Entry | None
    """As it was planned; nothing is done to what has changed since."""
    container: Entry | None


@dataclass(frozen=True, slots=True)
class Sides:
    """Sides are the two indexes and the last common state, as the plan reads them."""

    laptop: Index
    container: Index
    common: Index
    clock_offset_s: float = 0.0
    """The container's clock minus the laptop's."""
    folding: frozenset[Action] = frozenset()
    """TO_LAPTOP, TO_CONTAINER: where names that differ in case are one."""


def plan(paths: Iterable[bytes], sides: Sides, options: SyncOptions) -> list[Step]:
    """Return the steps for these paths: deletions first, inner paths before outer ones; then outer before inner."""
    actions = {path: _decide(path, sides, options) for path in set(paths)}
    for path in sorted(actions):
        _see_to_parents(path, actions, sides)
    steps = [Step(path, act, sides.laptop.get(path), sides.container.get(path)) for path, act in actions.items()]
    wanted = sorted((step for step in steps if step.action is not Action.LEAVE), key=lambda step: step.path)
    deletions = [step for step in wanted if is_deletion(step)]
    others = [step for step in wanted if not is_deletion(step)]
    return deletions[::-1] + _without_clashes(others, deletions, sides)


def is_deletion(step: Step) -> bool:
    source = step.laptop if step.action is Action.TO_CONTAINER else step.container
    return step.action in (Action.TO_CONTAINER, Action.TO_LAPTOP) and source is None


def is_other_kind(one: Entry | None, other: Entry | None) -> bool:
    """Tell whether one has to be deleted before the other can have its name: a folder and what is none."""
    return one is not None and other is not None and one.kind != other.kind and FOLDER in (one.kind, other.kind)


def is_ignored(path: bytes, index: Index) -> bool:
    """Tell whether a path, or a folder that it is in, has no part in it."""
    while path:
        if (entry := index.get(path)) and entry.kind == IGNORED:
            return True
        path = parent_of(path)
    return False


def _decide(path: bytes, sides: Sides, options: SyncOptions) -> Action:
    if is_ignored(path, sides.laptop) or is_ignored(path, sides.container):
        return Action.AGREE
    laptop, container, common = sides.laptop.get(path), sides.container.get(path), sides.common.get(path)
    if is_same(laptop, container):
        return Action.AGREE
    if is_same(container, common):
        return Action.TO_CONTAINER
    if is_same(laptop, common):
        return _from_container(container, common, options)
    if laptop is None:
        return Action.TO_LAPTOP if options.is_two_way else Action.LEAVE
    if container is None:
        return Action.TO_CONTAINER
    return _both(laptop, container, common, sides.clock_offset_s, options)


def _from_container(container: Entry | None, common: Entry | None, options: SyncOptions) -> Action:
    if not options.is_two_way:
        return Action.LEAVE
    if options.is_delete_protected and common is not None:
        if container is None:
            return Action.LEAVE
        if is_other_kind(common, container):  # the laptop's would be deleted for it
            return Action.CONFLICT
    return Action.TO_LAPTOP


def _both(laptop: Entry, container: Entry, common: Entry | None, clock_offset_s: float, options: SyncOptions) -> Action:
    """Decide where both have changed."""
    if laptop.kind == container.kind == FILE and laptop[2:4] == container[2:4]:  # only the modes differ
        return Action.TO_CONTAINER
    if common is not None:
        return Action.CONFLICT
    later_s = (container.changed_ns - laptop.changed_ns) / 1e9 - clock_offset_s
    is_known = abs(later_s) > CLOCK_DOUBT_S and laptop.kind == container.kind == FILE
    prefers = options.initial
    if prefers is Initial.NEWER:
        newer = Initial.CONTAINER if later_s > 0 else Initial.LAPTOP
        prefers = newer if is_known else Initial.BOTH
    if FOLDER in (laptop.kind, container.kind) or prefers is Initial.BOTH:
        return Action.CONFLICT
    if prefers is Initial.CONTAINER and options.is_two_way:
        return Action.TO_LAPTOP
    return Action.TO_CONTAINER


def is_same(one: Entry | None, other: Entry | None) -> bool:
    return one is other or (one is not None and one.is_same(other))


def _see_to_parents(path: bytes, actions: dict[bytes, Action], sides: Sides) -> None:
    """See to it that what is put somewhere has a folder there: one that was deleted on that side comes back."""
    action = actions[path]
    if action is Action.TO_CONTAINER and path in sides.laptop:
        target, back = sides.container, Action.TO_CONTAINER
    elif action is Action.TO_LAPTOP and path in sides.container:
        target, back = sides.laptop, Action.TO_LAPTOP
    else:
        return
    while path := parent_of(path):
        there = target.get(path)
        if there is None:
            actions[path] = back
        elif there.kind != FOLDER and actions.get(path) is not back:
            actions[path] = Action.CONFLICT


def _without_clashes(steps: list[Step], deletions: list[Step], sides: Sides) -> list[Step]:
    """Turn steps into CLASH that would give one of two names to the other's content, where case is folded."""
    for action, index in ((Action.TO_LAPTOP, sides.laptop), (Action.TO_CONTAINER, sides.container)):
        if action not in sides.folding:
            continue
        gone = {step.path for step in deletions if step.action is action}
        there = {_folded(path): path for path in index if path not in gone}
        clashing: set[bytes] = set()
        for at, step in enumerate(steps):
            if step.action is not action:
                continue
            other = there.setdefault(_folded(step.path), step.path)
            if other != step.path or parent_of(step.path) in clashing:
                clashing.add(step.path)
                steps[at] = replace(step, action=Action.CLASH)
    return steps


def _folded(path: bytes) -> str:
    return path.decode(errors="surrogateescape").casefold()
