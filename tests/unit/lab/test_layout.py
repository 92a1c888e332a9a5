"""Names."""

import pytest

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


def test_a_lab_shares_nothing_with_one_whose_name_begins_alike() -> None:
    assert not Layout("one-more").state_dir.is_relative_to(Layout("one").state_dir)
