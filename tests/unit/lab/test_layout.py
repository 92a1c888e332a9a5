"""Names."""

from pathlib import Path

import pytest

from tests.lab import layout
from tests.lab.errors import LabError
from tests.lab.layout import Layout


@pytest.mark.parametrize("name", ["", "Two", "a/b", "..", "-a", "a" * 21, "a b"])
def test_a_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        Layout(name)


def test_two_labs_share_no_name() -> None:
    one, two = Layout("one"), Layout("two")
    for attribute in ("state_dir", "lock_file", "node_netns", "laptop_netns", "cgroup_name"):
        assert getattr(one, attribute) != getattr(two, attribute)


def test_two_laptops_of_a_lab_share_no_name_of_their_own() -> None:
    one, two = Layout("one"), Layout("one", 2)
    for attribute in ("laptop_name", "laptop_netns", "homes_dir"):
        assert getattr(one, attribute) != getattr(two, attribute)
    assert one.state_dir == two.state_dir


def test_the_laptops_of_a_lab_are_not_those_of_one_whose_name_begins_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "NETNS_DIR", tmp_path)
    others = [Layout("one-laptop-2"), Layout("one-laptop-2", 3), Layout("one-more")]
    own = [Layout("one"), Layout("one", 2), Layout("one", 30)]
    for each in (*others, *own):
        (tmp_path / each.laptop_netns).touch()
        (tmp_path / each.node_netns).touch()
    assert {path.name for path in Layout("one").laptop_netns_paths} == {each.laptop_netns for each in own}


@pytest.mark.parametrize("number", [0, -1, 201])
def test_a_laptop_without_an_address_is_refused(number: int) -> None:
    with pytest.raises(LabError):
        Layout("one", number)


def test_a_lab_shares_nothing_with_one_whose_name_begins_alike() -> None:
    assert not Layout("one-more").state_dir.is_relative_to(Layout("one").state_dir)
